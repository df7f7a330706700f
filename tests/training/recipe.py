"""Optimizer and schedule as the options of a run would make them."""

from functools import partial
from typing import Any

import torch

from wsa_lightning.training import WarmupCosine


def recipe(learning_rate: float = 2e-3, warmup_steps: int = 1, weight_decay: float = 0.01) -> dict[str, Any]:
    return {
        "optimizer": partial(torch.optim.AdamW, lr=learning_rate, weight_decay=weight_decay, betas=(0.9, 0.99)),
        "lr_scheduler": partial(WarmupCosine, warmup_steps=warmup_steps),
    }

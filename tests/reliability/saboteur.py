"""Callbacks for runs that are to be killed: one that spends random numbers, one that kills."""

import os
import random
import resource
import signal
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch

from wsa_lightning.errors import UserError

HOOKS = (
    "on_train_batch_start",
    "on_before_backward",
    "on_before_optimizer_step",
    "on_train_batch_end",
    "on_validation_batch_end",
    "on_train_epoch_end",
)


class DisasterError(Exception):
    """What a run dies of."""


class Noise(L.Callback):
    """Noise on every training batch from all three global generators: weights depend on their states."""

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, *_: Any) -> None:
        level = 0.01 * (random.random() + np.random.random())
        batch["mixture"] += level * torch.rand_like(batch["mixture"])


class Saboteur(L.Callback):
    """Ends one rank at the ``count``-th call of a hook: ``how`` is an exception or the name of a signal.

    The moment is that of the file ``note``.
    """

    def __init__(self, hook: str, count: int, how: str = "exception", rank: int = 0, note: str | None = None) -> None:
        self.hook, self.count, self.how, self.rank, self.note = hook, count, how, rank, note
        setattr(self, hook, self._strike)

    def _strike(self, trainer: L.Trainer, *_: Any, **__: Any) -> None:
        if trainer.sanity_checking or trainer.global_rank != self.rank:
            return
        self.count -= 1
        if self.count:
            return
        if self.note is not None:
            Path(self.note).touch()
        if self.how == "exception":
            raise DisasterError(self.hook)
        if self.how == "user error":
            raise UserError(f"rank {self.rank} had enough")
        os.kill(os.getpid(), getattr(signal, self.how))


class Famine(L.Callback):
    """Leaves the process ``mib`` MiB more than it has when training begins."""

    def __init__(self, mib: int) -> None:
        self.mib = mib

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + (self.mib << 20), resource.RLIM_INFINITY))

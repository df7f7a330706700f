"""The default learning rate schedule."""

import math
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from wsa_lightning.ranges import ClosedUnitInterval, NonNegativeInt, PositiveInt


class WarmupCosine(LRScheduler):
    """Linear warm-up, then a cosine down to a fraction of the peak.

    Args:
        optimizer: its learning rates are the peak.
        warmup_steps: steps of the warm-up.
        final_fraction: learning rate at the last step, as a fraction of the peak.
        total_steps: the last step; None is the length of the run, which ``SeparationModule`` fills in.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        warmup_steps: NonNegativeInt = 20,
        final_fraction: ClosedUnitInterval = 0.05,
        total_steps: PositiveInt | None = None,
    ) -> None:
        self.warmup_steps, self.final_fraction, self.total_steps = warmup_steps, final_fraction, total_steps
        super().__init__(optimizer)

    def factor(self, step: int) -> float:
        """The learning rate at a step, as a fraction of the peak."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        if self.total_steps is None:
            return 1.0
        progress = min(1.0, (step - self.warmup_steps) / max(1, self.total_steps - self.warmup_steps))
        return self.final_fraction + (1 - self.final_fraction) * (1 + math.cos(math.pi * progress)) / 2

    def get_lr(self) -> list[float | Tensor]:
        """The learning rate of every parameter group at ``last_epoch``, which counts steps."""
        return [peak * self.factor(self.last_epoch) for peak in self.base_lrs]

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume at the step reached, on the curve that the options of this run describe."""
        options = ("warmup_steps", "final_fraction", "total_steps")
        super().load_state_dict({key: value for key, value in state_dict.items() if key not in options})

"""Windows that narrow while the student learns, and sinks that learn before the rest does."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import lightning as L
from torch.optim import Optimizer

from wsa_lightning.attention import Pattern
from wsa_lightning.errors import UserError
from wsa_lightning.models import describe_patterns
from wsa_lightning.models.transformer import Attention
from wsa_lightning.ranges import NonNegativeInt
from wsa_lightning.training.module import SeparationModule


class WindowAnnealingCallback(L.Callback):
    """Trains with wide windows first: ``windows`` in turn for ``steps`` optimizer steps in all, then the student's own.

    A layer never trains with less reach than its own: a dilated layer has a plain window as long as that reaches
    further than its own pattern. Validation, checkpoints and the exported model always have the student's own windows.

    Args:
        windows: the wider windows in frames, from wide to narrow; empty for none.
        steps: optimizer steps they share evenly.
    """

    def __init__(self, windows: Sequence[int] = (), steps: int = 0) -> None:
        narrowing = all(wide > narrow for wide, narrow in pairwise(windows))
        if any(window < 1 for window in windows) or not narrowing or steps < 0 or bool(windows) != bool(steps):
            raise UserError(
                f"annealing.windows is {list(windows)} and annealing.steps {steps}: expected windows >= 1, each "
                "narrower than the one before, and the steps they share; or neither"
            )
        self.windows, self.steps = list(windows), steps

    def window_at(self, step: int) -> int | None:
        """The least window at an optimizer step; None once the student's own are due."""
        if step >= self.steps:
            return None
        return self.windows[step * len(self.windows) // self.steps]

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Refuse a schedule that changes nothing, or that has no end within this training."""
        if not self.windows:
            return
        assert isinstance(pl_module, SeparationModule)
        config = pl_module.net.config
        if not any(is_narrower(pattern, self.windows[0]) for pattern in config.patterns):
            raise UserError(
                f"annealing.windows is {self.windows}, but the model's own are {describe_patterns(config)}: expected "
                "wider ones to begin with; or set annealing.windows [] and annealing.steps 0"
            )
        _end_within(pl_module, "annealing.steps", self.steps)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Widen the windows for this step."""
        if self.windows:
            widen(pl_module, self.window_at(trainer.global_step))

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Validate the student as it will be used."""
        if self.windows:
            widen(pl_module, None)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leave the student as it will be used."""
        if self.windows:
            widen(pl_module, None)


def _end_within(module: SeparationModule, key: str, steps: int) -> None:
    """Refuse a phase that takes all of the training."""
    if steps >= (planned := module.planned_steps()):
        raise UserError(f"{key} is {steps}, but the whole training has {planned} steps: expected fewer than that")


def is_narrower(pattern: Pattern, window: int) -> bool:
    """Whether a plain window of so many frames stretches further than the pattern's."""
    return pattern.window is not None and pattern.window * pattern.dilation < window


def widen(pl_module: L.LightningModule, least: int | None) -> None:
    """Give every time attention its own pattern, or a plain window of ``least`` frames where that reaches further."""
    assert isinstance(pl_module, SeparationModule)
    for layer, own in zip(pl_module.net.layers, pl_module.net.config.patterns, strict=True):
        is_widened = least is not None and is_narrower(own, least)
        pattern = replace(own, window=least, dilation=1) if is_widened else own
        for attention in layer.get_submodule("time").modules():
            if isinstance(attention, Attention):
                attention.pattern = pattern


class SinkWarmupCallback(L.Callback):
    """Trains the sinks alone for the first optimizer steps; everything else is frozen.

    Args:
        steps: optimizer steps; 0 for none.
    """

    def __init__(self, steps: NonNegativeInt = 0) -> None:
        self.steps = steps

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Refuse a phase without sinks, or one that never ends."""
        if not self.steps:
            return
        assert isinstance(pl_module, SeparationModule)
        if not pl_module.net.config.sinks:
            raise UserError(f"sink_warmup.steps is {self.steps}, but the student has no sinks: set it to 0")
        _end_within(pl_module, "sink_warmup.steps", self.steps)

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Optimizer) -> None:
        """Drop the gradients of all but the sinks: AdamW skips parameters without one, DDP has reduced them."""
        if trainer.global_step >= self.steps:
            return
        assert isinstance(pl_module, SeparationModule)
        for name, parameter in pl_module.net.named_parameters():
            if name != "sinks":
                parameter.grad = None

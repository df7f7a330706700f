"""NaN and infinity: training stops, or skips the step, and the batch is saved for whoever looks for the cause."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import lightning as L
import torch
from torch import Tensor

from wsa_lightning.atomic import replacing
from wsa_lightning.errors import UserError
from wsa_lightning.ranges import NonNegativeInt

logger = logging.getLogger(__name__)

FOLDER = "nonfinite"
SMALLEST_SCALE = 1.0


@runtime_checkable
class Explained(Protocol):
    """A module that can say what a training step was made of. It is optional; without it less is saved."""

    def step_inputs(self) -> Mapping[str, Tensor]:
        """Tensors besides the batch that the last step used, by name."""

    def step_terms(self) -> Mapping[str, Tensor]:
        """The terms of the last step's loss, by name, detached."""

    def origin(self, batch: Mapping[str, Any]) -> Sequence[str]:
        """Where the samples of a batch come from, in words."""


@dataclass
class Seen:
    """One batch of the optimizer step in progress."""

    batch: Mapping[str, Any]
    loss: Tensor
    inputs: Mapping[str, Tensor]
    terms: Mapping[str, Tensor]


class FiniteCallback(L.Callback):
    """Checks the gradient before every optimizer step.

    A loss that is not finite makes every gradient NaN, on all ranks of DDP alike. One look at the gradients per step is
    therefore enough, and all ranks decide the same. What is not finite never reaches weights, optimizer or average. The
    batch is saved to ``nonfinite/step-N-rank-R.pt`` (plain data: mixture, targets, index, places, songs, loss, terms;
    open it with ``torch.load``), and the message names the loss term, the samples and the songs.

    Under ``16-mixed`` the loss scaler handles gradients that overflow: it skips the step and halves its scale. Only a
    loss that is not finite, or a scale below 1, counts here.

    Args:
        action: ``stop`` ends the run with the weights as they were before the step; ``skip`` continues without the
            step.
        max_skipped: how many steps ``skip`` leaves out in one run before it stops as well.
    """

    def __init__(self, action: Literal["stop", "skip"] = "stop", max_skipped: NonNegativeInt = 10) -> None:
        self.action, self.max_skipped = action, max_skipped
        self.skipped = 0
        self._batch: Mapping[str, Any] = {}
        self._step: list[Seen] = []

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._batch = batch

    def on_before_backward(self, trainer: L.Trainer, pl_module: L.LightningModule, loss: Tensor) -> None:
        """Let a loss that is not finite turn its whole gradient into NaN (an infinite L1 has a finite one)."""
        inputs, terms = (
            (pl_module.step_inputs(), dict(pl_module.step_terms())) if isinstance(pl_module, Explained) else ({}, {})
        )
        self._step.append(Seen(self._batch, loss.detach(), inputs, terms))
        # A hook that refers to the loss itself would keep every step's graph alive.
        is_finite = loss.detach().isfinite()
        loss.register_hook(lambda gradient: torch.where(is_finite, gradient, torch.nan))

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Stop or skip if the gradient is not finite; one synchronisation with the device per step."""
        step, self._step = self._step, []
        norm = gradient_norm(pl_module)
        pl_module.log("gradient_norm", norm)
        if bool(norm.isfinite()) or _scaler_will_skip(trainer, step):
            return
        problem = describe(pl_module, step)
        culprits = [seen for seen in step if not _finite(seen.loss)] or step
        batches = [_plain(trainer, pl_module, seen) for seen in culprits]
        where = Path(trainer.default_root_dir) / FOLDER / f"step-{trainer.global_step}-rank-{trainer.global_rank}.pt"
        with replacing(where) as temporary:
            torch.save(batches, temporary)
        message = f"step {trainer.global_step}: {problem}; {_samples(batches)}; saved to {where}"
        if self.action == "stop" or self.skipped >= self.max_skipped:
            reached = f" ({self.skipped} steps were skipped, nonfinite.max_skipped)" if self.action == "skip" else ""
            raise UserError(
                f"{message}{reached}. The weights are still finite: look at those songs (data check), lower "
                "model.optimizer.lr, use trainer.precision 32-true, or --nonfinite.action skip, and resume"
            )
        self.skipped += 1
        logger.warning("%s; the step is skipped (%d of at most %d)", message, self.skipped, self.max_skipped)
        optimizer.zero_grad(set_to_none=True)  # an optimizer leaves parameters without gradient as they are

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.skipped:
            pl_module.log("skipped_steps", float(self.skipped))

    def state_dict(self) -> dict[str, Any]:
        """The limit is for the whole run, however often it is resumed."""
        return {"skipped": self.skipped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.skipped = state_dict["skipped"]


def gradient_norm(module: torch.nn.Module) -> Tensor:
    """The 2-norm of all gradients together, a scalar."""
    gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
    return torch.nn.utils.get_total_norm(gradients)


def describe(module: torch.nn.Module, step: list[Seen]) -> str:
    """What is not finite: the batch, another input, a loss term, or else a parameter's gradient."""
    for seen in step:
        for name, value in {**seen.batch, **seen.inputs}.items():
            if not _finite(value):
                return f"the batch's {name} is not finite"
        if not _finite(seen.loss):
            bad = [f"{name} is {float(value)}" for name, value in seen.terms.items() if not _finite(value)]
            return f"the loss is {float(seen.loss)} ({', '.join(bad) or 'their weighted sum'})"
    for name, parameter in module.named_parameters():
        if not _finite(parameter):
            return f"the weight {name} is not finite"
    bad = [name for name, parameter in module.named_parameters() if not _finite(parameter.grad)]
    if bad:
        return f"every loss is finite here, but the gradient of {bad[0]} and {len(bad) - 1} more is not"
    return "the norm of the gradient overflows"


def _finite(value: Any) -> bool:
    return not isinstance(value, Tensor) or bool(value.isfinite().all())


def _scaler_will_skip(trainer: L.Trainer, step: list[Seen]) -> bool:
    scaler = getattr(trainer.precision_plugin, "scaler", None)
    return scaler is not None and all(_finite(seen.loss) for seen in step) and scaler.get_scale() >= SMALLEST_SCALE


def _samples(batches: list[dict[str, Any]]) -> str:
    """Epoch, sample indices and songs, in words."""
    songs = sorted({song for batch in batches for song in batch["songs"]})
    indices = [str(index) for batch in batches if "index" in batch for index in batch["index"].tolist()]
    return f"epoch {batches[0]['epoch']}, samples {', '.join(indices) or 'unknown'}: {'; '.join(songs) or 'unknown'}"


def _plain(trainer: L.Trainer, module: L.LightningModule, seen: Seen) -> dict[str, Any]:
    """A batch as plain data on the CPU, with the origin of its samples in words."""
    tensors = {name: value.detach().cpu() for name, value in seen.batch.items() if isinstance(value, Tensor)}
    songs = list(module.origin(seen.batch)) if isinstance(module, Explained) else []
    terms = {name: float(value) for name, value in seen.terms.items()}
    return {**tensors, "songs": songs, "loss": float(seen.loss), "terms": terms, "epoch": trainer.current_epoch}

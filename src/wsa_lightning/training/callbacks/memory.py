"""A line before training: how much memory it will take, and how much there is."""

import logging
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_info, rank_zero_only

from wsa_lightning.training.callbacks.averaging import EMACallback
from wsa_lightning.training.callbacks.distillation import DistillationCallback
from wsa_lightning.training.datamodule import MUSDBDataModule
from wsa_lightning.training.memory import MIB, MemoryEstimate, estimate
from wsa_lightning.training.module import SeparationModule

logger = logging.getLogger(__name__)

REMEDIES = (
    "lower data.batch_size (and raise trainer.accumulate_grad_batches by as much: the step stays the same), "
    "set model.activation_checkpointing true, or set trainer.precision bf16-mixed"
)


class MemoryCallback(L.Callback):
    """Prints weights, gradients, optimizer, average, teacher and activations before training starts.

    Warns, with the three settings to change, when the sum exceeds the memory that is free.
    """

    def __init__(self) -> None:
        self.estimate: MemoryEstimate | None = None

    @rank_zero_only
    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Estimate and print."""
        data = getattr(trainer, "datamodule", None)
        if not isinstance(pl_module, SeparationModule) or not isinstance(data, MUSDBDataModule):
            return
        callbacks = trainer.callbacks  # type: ignore[attr-defined]
        self.estimate = estimate(
            pl_module.net,
            pl_module.loss,
            data.batch_size,
            data.chunk,
            teacher=next((c.teacher for c in callbacks if isinstance(c, DistillationCallback)), None),
            average=any(isinstance(c, EMACallback) for c in callbacks),
            context=trainer.precision_plugin.forward_context,
        )
        free = free_memory(pl_module.device)
        known = "" if free is None else f", of {free / MIB:,.0f} MiB free on {pl_module.device}"
        rank_zero_info(f"memory: {self.estimate}{known}")
        if free is not None and self.estimate.total > free:
            logger.warning("this may not fit: %s", REMEDIES)


def free_memory(device: torch.device) -> int | None:
    """Bytes free on a device, for the CPU what Linux says is available; None where it cannot be known."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    meminfo = Path("/proc/meminfo")
    if device.type != "cpu" or not meminfo.exists():
        return None
    line = next(line for line in meminfo.read_text(encoding="ascii").splitlines() if line.startswith("MemAvailable"))
    return int(line.split()[1]) * 1024

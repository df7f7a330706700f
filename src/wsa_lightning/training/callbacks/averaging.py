"""An exponential moving average of the weights: what is validated, kept and exported."""

import warnings

import lightning as L
import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor

from wsa_lightning.ranges import ClosedUnitInterval


class EMACallback(WeightAveraging):
    """EMA with a warm-up: decay min(``decay``, (1 + n) / (10 + n)) after n updates.

    Without the warm-up, a decay of 0.999 has seen a tenth of a 120-step run. Validation runs on the average,
    ``state_dict`` in a checkpoint is the average, and so are the weights after training; the raw weights
    travel beside it for exact resumption.

    Args:
        decay: the largest decay; 0 keeps the average equal to the raw weights.
    """

    def __init__(self, decay: ClosedUnitInterval = 0.999) -> None:

        def average(averaged: Tensor, current: Tensor, updates: Tensor | int) -> Tensor:
            n = int(updates)
            return torch.lerp(current, averaged, min(decay, (1 + n) / (10 + n)))

        # Buffers are constants here (band indices, the window): averaging would corrupt the integers.
        super().__init__(use_buffers=False, avg_fn=average)
        self._swapped = False

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        with warnings.catch_warnings():  # Lightning warns of sharded models, which RecoveryCallback refuses
            warnings.filterwarnings("ignore", message=".*overrides the configure_model.*")
            super().setup(trainer, pl_module, stage)

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Move the average to where the weights are: it was made before they went to the device."""
        if self._average_model is not None:
            self._average_model.to(pl_module.device)

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_validation_epoch_start(trainer, pl_module)
        self._swapped = self._average_model is not None

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_validation_epoch_end(trainer, pl_module)
        self._swapped = False

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Undo a swap that an interrupted validation left, before a checkpoint is saved."""
        if self._swapped:
            self._swap_models(pl_module)
            self._swapped = False

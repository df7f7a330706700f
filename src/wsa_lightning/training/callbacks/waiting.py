"""How much of the training time goes into waiting for data."""

import logging
import time
from typing import Any

import lightning as L

from wsa_lightning.data.loader import TimedLoader
from wsa_lightning.training.datamodule import MUSDBDataModule

logger = logging.getLogger(__name__)

ALARMING_SHARE = 0.3
PATIENCE_SECONDS = 60.0


class WaitingCallback(L.Callback):
    """Logs ``data/wait``: the share of the training time, validation left out, spent waiting for the next batch.

    It covers the time since it was last logged. Once, when a minute of training has been waited through by
    more than 30 %, a warning names the remedy. ``data/unreadable`` counts the songs of the training split that
    could not be read so far.
    """

    def __init__(self) -> None:
        self._since = 0.0
        self._paused = 0.0
        self._pause_began = 0.0
        self._waited = 0.0
        self._total = self._total_waited = 0.0
        self._warned = False

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock."""
        self._restart(trainer)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop the clock."""
        self._pause_began = time.perf_counter()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Go on."""
        self._paused += time.perf_counter() - self._pause_began

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log with the other scalars of this step."""
        loader = _loader(trainer)
        if loader is None or (trainer.global_step % trainer.log_every_n_steps and not self._is_last(trainer)):  # type: ignore[attr-defined]
            return
        passed = time.perf_counter() - self._since - self._paused
        waited = loader.waited - self._waited
        pl_module.log("data/wait", waited / passed if passed > 0 else 0.0)
        if isinstance(trainer.datamodule, MUSDBDataModule):  # type: ignore[attr-defined]
            pl_module.log("data/unreadable", float(trainer.datamodule.unreadable_songs))  # type: ignore[attr-defined]
        self._total += passed
        self._total_waited += waited
        self._restart(trainer)
        if not self._warned and self._total > PATIENCE_SECONDS and self._total_waited > ALARMING_SHARE * self._total:
            self._warned = True
            logger.warning(
                "%.0f %% of the training time is spent waiting for data: raise data.workers, or move the songs to a "
                "faster disk",
                100 * self._total_waited / self._total,
            )

    def _is_last(self, trainer: L.Trainer) -> bool:
        return bool(trainer.fit_loop.epoch_loop.batch_progress.is_last_batch)

    def _restart(self, trainer: L.Trainer) -> None:
        loader = _loader(trainer)
        self._since, self._paused = time.perf_counter(), 0.0
        self._waited = loader.waited if loader is not None else 0.0


def _loader(trainer: L.Trainer) -> TimedLoader | None:
    loader = trainer.train_dataloader
    return loader if isinstance(loader, TimedLoader) else None

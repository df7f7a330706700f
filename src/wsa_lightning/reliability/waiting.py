"""How much of the training time is spent waiting for data."""

import logging
import time
from collections.abc import Iterator
from typing import Any

import lightning as L
from torch.utils.data import DataLoader

from wsa_lightning.reliability.internals import is_last_batch, logs_this_step

logger = logging.getLogger(__name__)

ALARMING_SHARE = 0.3
PATIENCE_SECONDS = 60.0


class TimedLoader(DataLoader[Any]):
    """A loader whose ``waited`` is the time in seconds that its consumer has spent waiting for batches."""

    waited = 0.0

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        batches = super().__iter__()
        while True:
            start = time.perf_counter()
            try:
                batch = next(batches)
            except StopIteration:
                return
            finally:
                self.waited += time.perf_counter() - start
            yield batch


class WaitingCallback(L.Callback):
    """Logs ``data/wait``: the share of the training time, validation left out, spent waiting for the next batch.

    It covers the time since it was last logged. If more than 30 % of the first minute of training, or of any longer
    time, is spent waiting, one warning says what to change.
    """

    def __init__(self) -> None:
        self._since = self._pause_began = self._waited = 0.0
        self._total = self._total_waited = 0.0
        self._warned = False

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._restart(trainer)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._pause_began = time.perf_counter()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._since += time.perf_counter() - self._pause_began

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loader = _loader(trainer)
        if loader is None or not (logs_this_step(trainer) or is_last_batch(trainer)):
            return
        passed = time.perf_counter() - self._since
        waited = loader.waited - self._waited
        pl_module.log("data/wait", waited / passed if passed > 0 else 0.0)
        self._total += passed
        self._total_waited += waited
        self._restart(trainer)
        if not self._warned and self._total > PATIENCE_SECONDS and self._total_waited > ALARMING_SHARE * self._total:
            self._warned = True
            logger.warning(
                "%.0f %% of the training time is spent waiting for data: raise data.workers, or move the dataset to a "
                "faster disk",
                100 * self._total_waited / self._total,
            )

    def _restart(self, trainer: L.Trainer) -> None:
        loader = _loader(trainer)
        self._since = time.perf_counter()
        self._waited = loader.waited if loader is not None else 0.0


def _loader(trainer: L.Trainer) -> TimedLoader | None:
    loader = trainer.train_dataloader
    return loader if isinstance(loader, TimedLoader) else None

"""How far a run is, in a file that others may read while it runs."""

import os
import socket
import time
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import lightning as L

from wsa_lightning.atomic import write_json
from wsa_lightning.ranges import NonNegativeFloat
from wsa_lightning.reliability.internals import is_dry_run


@runtime_checkable
class Planned(Protocol):
    """A module that knows how long its training is."""

    def planned_steps(self) -> int:
        """Optimizer steps of the whole run."""


class ProgressCallback(L.Callback):
    """Writes ``progress/STAGE.json`` into the run's folder, whole at every moment.

    ``state`` is ``running``; ``finished`` once the stage has ended by itself and all else is written; ``stopped`` with
    the name of the exception if something broke in. A process that is killed leaves ``running``. Beside it: ``step``
    of ``steps`` (optimizer steps of ``fit``, batches of the others), where this attempt began (``first_step``,
    ``started``, in seconds since 1970), and the latest scores. ``sweep`` draws its table from it.

    Args:
        every_seconds: at most one file in that time; ends and new scores are written at once.
    """

    def __init__(self, every_seconds: NonNegativeFloat = 2.0) -> None:
        self.every_seconds = every_seconds
        self._path: Path | None = None
        self._content: dict[str, Any] = {}
        self._written = 0.0

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if not trainer.is_global_zero or is_dry_run(trainer):
            return
        name = str(getattr(stage, "value", stage))  # Lightning passes an enumeration
        self._path = Path(trainer.default_root_dir) / "progress" / f"{name}.json"
        self._content = {
            "stage": name,
            "step": 0,
            "steps": None,
            "first_step": 0,
            "started": time.time(),
            "pid": os.getpid(),
            "host": socket.gethostname(),
        }
        self._write("running")

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Learn the length of the run, and where a resumed one begins."""
        steps = pl_module.planned_steps() if isinstance(pl_module, Planned) else None
        self._tell(trainer, step=trainer.global_step, steps=steps, first_step=trainer.global_step, started=time.time())

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        self._tell(trainer, patiently=True, step=trainer.global_step)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._tell(trainer)

    def on_test_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *rest: Any) -> None:
        self._tell(trainer, patiently=True, step=rest[2] + 1, steps=_batches(trainer.num_test_batches))

    def on_predict_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *rest: Any) -> None:
        self._tell(trainer, patiently=True, step=rest[2] + 1, steps=_batches(trainer.num_predict_batches))

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._tell(trainer)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self._tell(trainer, state="stopped", exception=type(exception).__name__)

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """The stage ended by itself: Lightning calls this hook in no other case."""
        self._tell(trainer, state="finished", ended=time.time())

    def _tell(self, trainer: L.Trainer, *, patiently: bool = False, state: str = "running", **news: Any) -> None:
        scores = {
            name: float(value)
            for name, value in trainer.callback_metrics.items()
            if name.startswith(("val/", "test/")) and float(value) == float(value)
        }
        self._content |= {**scores, **news}
        if not patiently or time.time() - self._written >= self.every_seconds:
            self._write(state)

    def _write(self, state: str) -> None:
        if self._path is None:
            return
        self._written = time.time()
        self._content |= {"state": state, "updated": self._written}
        write_json(self._path, self._content, durable=False)


def _batches(numbers: list[int | float]) -> int | None:
    """How many batches there are in all, if that is known."""
    total = sum(numbers)
    return int(total) if total < float("inf") else None

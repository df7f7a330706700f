"""``last.ckpt``: from where a run that was killed goes on, bit for bit."""

import random
import signal
import threading
import time
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.exceptions import SIGTERMException

from wsa_lightning.atomic import remove_leftovers
from wsa_lightning.errors import UserError
from wsa_lightning.ranges import PositiveFloat, PositiveInt
from wsa_lightning.reliability.internals import (
    datamodule_of,
    ends_with_validation,
    full_checkpoint,
    is_accumulating,
    is_dry_run,
    is_last_batch,
    start_method,
)

NAME = "last.ckpt"
FOLDER = "checkpoints"
INTERRUPTS: dict[type[BaseException], str] = {KeyboardInterrupt: "Ctrl-C", SIGTERMException: "SIGTERM"}


class RecoveryCallback(Checkpoint):
    """Writes ``checkpoints/last.ckpt`` every few minutes, after every epoch, and when the run is stopped.

    A checkpoint always is of an optimizer boundary: the moment after an optimizer step, its scheduler step and its
    average. A run stopped later than that, by an exception, SIGTERM or Ctrl+C, amid accumulated batches or amid
    validation, is saved as of the last boundary, from where the same samples are seen again. Ctrl+C within an optimizer
    step waits for the end of the batch (a second one does not); an exception there saves nothing, and the checkpoint
    before stays.

    Only rank 0 writes, and without waiting for the others, so that a rank that fails alone does not hang.

    Args:
        minutes: between checkpoints; null writes at the end of every epoch only.
        every_n_steps: optimizer steps between checkpoints, as well.
    """

    def __init__(self, minutes: PositiveFloat | None = 10.0, every_n_steps: PositiveInt | None = None) -> None:
        self.minutes, self.every_n_steps = minutes, every_n_steps
        self._is_training = False
        self._boundary: dict[str, Any] | None = None
        self._saved_at = 0.0
        self._resumed_random: dict[str, Any] | None = None
        self._saved_random: dict[str, Any] | None = None
        self._sigint = HeldSignal(signal.SIGINT)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Refuse strategies under which rank 0 does not hold the whole model; clear up after a killed run."""
        if stage != "fit":
            return
        check_strategy(trainer)
        if trainer.is_global_zero:
            for folder in (path(trainer).parent, path(trainer).parent.parent):
                remove_leftovers(folder)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take up the random generators where the checkpoint left them."""
        self._is_training = True
        self._saved_at = time.monotonic()
        if self._resumed_random is not None:
            set_random_state(self._resumed_random)
            self._resumed_random = None

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """From here until the batch ends the weights belong to no step."""
        self._sigint.hold()
        self._boundary = None

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if is_accumulating(trainer):
            return
        self._boundary = _boundary(trainer)
        self._sigint.release()
        if self._is_due(trainer):
            self._save(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._boundary = _boundary(trainer, epoch_ended=True)
        self._save(trainer)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self._sigint.forget()
        if not trainer.is_global_zero or trainer.state.fn != TrainerFn.FITTING:
            return
        if self._boundary is not None:
            self._save(trainer)
        cause = INTERRUPTS.get(type(exception))
        if self._is_training or cause is not None:
            how = "" if cause is None else f" by {cause}"
            rank_zero_info(f"stopped{how} at step {trainer.global_step}; {remedy(path(trainer))}")

    def _is_due(self, trainer: L.Trainer) -> bool:
        every = self.every_n_steps
        due = every is not None and trainer.global_step % every == 0
        return due or (self.minutes is not None and time.monotonic() - self._saved_at >= 60 * self.minutes)

    def _save(self, trainer: L.Trainer) -> None:
        if not trainer.is_global_zero or is_dry_run(trainer):
            return
        assert self._boundary is not None
        self._saved_random = self._boundary["random"]
        checkpoint = full_checkpoint(trainer)
        self._saved_random = None
        checkpoint["loops"]["fit_loop"] = self._boundary["loop"]
        if (data := self._boundary["data"]) is not None:
            checkpoint[data[0]] = data[1]
        trainer.strategy.checkpoint_io.save_checkpoint(checkpoint, path(trainer))
        self._saved_at = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        """The random generators: at the boundary, or now in a checkpoint that another callback writes."""
        return {"random": self._saved_random or random_state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._resumed_random = state_dict["random"]


def check_strategy(trainer: L.Trainer) -> None:
    """Refuse strategies under which rank 0 does not hold the whole model, or whose processes are copies made by pickle.

    Raises:
        UserError: any strategy but auto, ddp and those like them.
    """
    name = type(trainer.strategy).__name__
    if not isinstance(trainer.strategy, (DDPStrategy, SingleDeviceStrategy)):
        raise UserError(f"trainer.strategy is {name}: expected auto or ddp, because rank 0 writes the checkpoints")
    if start := start_method(trainer):
        raise UserError(f"trainer.strategy starts its processes by {start}: expected auto or ddp")


class HeldSignal:
    """Keeps a signal from breaking in between ``hold`` and ``release``; the second one breaks in all the same."""

    def __init__(self, number: signal.Signals) -> None:
        self.number = number
        self._before: Any = None
        self._came = False

    def hold(self) -> None:
        """Note the signal from now on. Only the main thread may; elsewhere nothing changes."""
        if self._before is None and threading.current_thread() is threading.main_thread():
            self._before = signal.signal(self.number, self._note)

    def release(self) -> None:
        """Let the signal act as before, and now if it has come."""
        if self.forget():
            signal.raise_signal(self.number)

    def forget(self) -> bool:
        """Let the signal act as before; returns whether it has come."""
        if self._before is not None:
            signal.signal(self.number, self._before)
        came, self._before, self._came = self._came, None, False
        return came

    def _note(self, *_: object) -> None:
        if self._came:
            self.release()
        self._came = True


def path(trainer: L.Trainer) -> Path:
    """Where a run's last checkpoint is."""
    return Path(trainer.default_root_dir) / FOLDER / NAME


def remedy(checkpoint: Path) -> str:
    """What the user is told to do with a run that was stopped."""
    return (
        f"go on with the same options and --ckpt_path {checkpoint}"
        if checkpoint.exists()
        else "no checkpoint was written yet: start it again"
    )


def _boundary(trainer: L.Trainer, *, epoch_ended: bool = False) -> dict[str, Any]:
    """Where loops, data and random generators stand now."""
    loop = trainer.fit_loop.state_dict()
    _count_epochs(loop, epoch_ended)
    if not epoch_ended and is_last_batch(trainer) and ends_with_validation(trainer):
        _put_before_validation(loop)
    datamodule = datamodule_of(trainer)
    data = None if datamodule is None else (type(datamodule).__qualname__, datamodule.state_dict())
    return {"loop": loop, "data": data, "random": random_state()}


def _count_epochs(loop: dict[str, Any], epoch_ended: bool) -> None:
    """Say how many epochs have begun: after a resume at an epoch's last batch, Lightning counts one too few."""
    epochs = loop["epoch_progress"]
    for count in (epochs["total"], epochs["current"]):
        begun = count["processed"] + (not epoch_ended)
        count |= {"ready": begun, "started": begun}


def _put_before_validation(loop: dict[str, Any]) -> None:
    """Describe an epoch whose batches are done and whose validation has yet to run, in Lightning's terms.

    As it stands in ``on_train_batch_end``, the state makes a resumed run leave this validation out.
    """
    batches = loop["epoch_loop.batch_progress"]
    for count in (batches["total"], batches["current"]):
        count["completed"] = count["processed"]
    validation = loop["epoch_loop.val_loop.batch_progress"]
    for count in (validation["total"], validation["current"]):
        count |= {"ready": 1, "started": 1, "processed": 0, "completed": 0}
    validation["is_last_batch"] = False


def random_state() -> dict[str, Any]:
    """The states of all random generators of this process, as plain data."""
    version, words, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
        "python": [version, list(words), gauss],
        "numpy": [str(name), [int(key) for key in keys], int(position), int(has_gauss), float(cached)],
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Put the random generators back into a state that ``random_state`` returned."""
    torch.set_rng_state(state["torch"].cpu())
    if len(state["cuda"]) == torch.cuda.device_count() and torch.cuda.is_available():
        torch.cuda.set_rng_state_all([generator.cpu() for generator in state["cuda"]])
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), position, has_gauss, cached))

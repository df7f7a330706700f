"""Everything that this project uses of Lightning beyond its public API, in one place, each with its reason.

``tests/reliability/test_internals.py`` checks every function here against the installed Lightning.
"""

import threading
from typing import Any, TypeVar

import lightning as L

SomeCallback = TypeVar("SomeCallback", bound=L.Callback)


def callbacks_of(trainer: L.Trainer) -> list[L.Callback]:
    """The trainer's callbacks: a documented attribute that ``Trainer`` does not declare."""
    callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return callbacks


def find_callback(trainer: L.Trainer, kind: type[SomeCallback]) -> SomeCallback | None:
    """The first callback of a kind."""
    return next((callback for callback in callbacks_of(trainer) if isinstance(callback, kind)), None)


def datamodule_of(trainer: L.Trainer) -> L.LightningDataModule | None:
    """The data module of the present stage: a documented attribute that ``Trainer`` does not declare."""
    return getattr(trainer, "datamodule", None)


def is_dry_run(trainer: L.Trainer) -> bool:
    """Whether ``fast_dev_run`` is on: a documented option that is not declared as an attribute."""
    return bool(getattr(trainer, "fast_dev_run", False))


def is_overfitting(trainer: L.Trainer) -> bool:
    """Whether ``overfit_batches`` is on: an option that is not declared as an attribute."""
    return bool(getattr(trainer, "overfit_batches", 0))


def processed_batches(trainer: L.Trainer) -> int:
    """Training batches of this epoch that are done, those before a resume included: no public attribute counts them."""
    progress: Any = trainer.fit_loop.epoch_loop.batch_progress.current
    return int(progress.processed)


def is_last_batch(trainer: L.Trainer) -> bool:
    """Whether the present training batch is the epoch's last: a data loader of unknown length does not tell."""
    return bool(trainer.fit_loop.epoch_loop.batch_progress.is_last_batch)


def logs_this_step(trainer: L.Trainer) -> bool:
    """Whether ``log_every_n_steps`` falls on this step: an option that is not declared as an attribute, 0 for never."""
    every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
    return every > 0 and trainer.global_step % every == 0


def is_accumulating(trainer: L.Trainer) -> bool:
    """Whether the batch that ends now made no optimizer step; the rule has several conditions, all private."""
    return bool(trainer.fit_loop._should_accumulate())


def ends_with_validation(trainer: L.Trainer) -> bool:
    """Whether this epoch ends with a validation."""
    return trainer.fit_loop.epoch_loop._should_check_val_epoch()


def full_checkpoint(trainer: L.Trainer) -> dict[str, Any]:
    """What ``Trainer.save_checkpoint`` writes; that function waits for all ranks, and would hang if one fails alone."""
    checkpoint: dict[str, Any] = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)
    return checkpoint


def start_method(trainer: L.Trainer) -> str | None:
    """How DDP starts its processes, ``spawn`` or ``fork``; None if each runs the command line again, as plain ddp."""
    method = getattr(trainer.strategy, "_start_method", None)
    return None if method in (None, "popen") else str(method)


def end_process_observer() -> None:
    """End Lightning's thread that looks every 5 s for dead ranks: it would kill rank 0 before that can say why."""
    for thread in threading.enumerate():
        if thread.name == "child-process-observer":
            thread._run = lambda: True  # type: ignore[attr-defined]

"""What is used of Lightning beyond its public API is there, and means what we take it for."""

import threading
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.demos.boring_classes import BoringDataModule, BoringModel

from wsa_lightning.reliability import internals


class Watcher(L.Callback):
    """Asks every question at the end of every training batch."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        checkpoint = internals.full_checkpoint(trainer)
        self.seen.append(
            {
                "processed": internals.processed_batches(trainer),
                "last": internals.is_last_batch(trainer),
                "accumulating": internals.is_accumulating(trainer),
                "validates": internals.ends_with_validation(trainer),
                "logs": internals.logs_this_step(trainer),
                "step": checkpoint["global_step"],
                "optimizers": len(checkpoint["optimizer_states"]),
            }
        )


def test_the_loops_and_the_checkpoint_are_read_as_they_are(tmp_path: Path) -> None:
    watcher = Watcher()
    trainer = L.Trainer(
        default_root_dir=tmp_path, max_epochs=1, limit_train_batches=4, limit_val_batches=1, accumulate_grad_batches=2,
        callbacks=[watcher], logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu",
        enable_model_summary=False, log_every_n_steps=2, num_sanity_val_steps=0,
    )  # fmt: skip
    data = BoringDataModule()
    trainer.fit(BoringModel(), data)
    assert [seen["processed"] for seen in watcher.seen] == [1, 2, 3, 4]
    assert [seen["last"] for seen in watcher.seen] == [False, False, False, True]
    assert [seen["accumulating"] for seen in watcher.seen] == [True, False, True, False]
    assert [seen["validates"] for seen in watcher.seen] == [True] * 4
    assert [seen["step"] for seen in watcher.seen] == [0, 1, 1, 2]
    assert [seen["logs"] for seen in watcher.seen] == [True, False, False, True]
    assert all(seen["optimizers"] == 1 for seen in watcher.seen)
    assert internals.find_callback(trainer, Watcher) is watcher
    assert watcher in internals.callbacks_of(trainer)
    assert internals.datamodule_of(trainer) is data
    assert not internals.is_dry_run(trainer) and not internals.is_overfitting(trainer)
    assert internals.start_method(trainer) is None


def test_a_dry_run_is_known_as_one(tmp_path: Path) -> None:
    trainer = L.Trainer(default_root_dir=tmp_path, fast_dev_run=True, accelerator="cpu", logger=False)
    assert internals.is_dry_run(trainer) and internals.datamodule_of(trainer) is None


def test_how_ddp_starts_its_processes_is_known(tmp_path: Path) -> None:
    for strategy, method in (("ddp", None), ("ddp_spawn", "spawn"), ("ddp_fork", "fork")):
        trainer = L.Trainer(default_root_dir=tmp_path, strategy=strategy, devices=2, accelerator="cpu", logger=False)
        assert internals.start_method(trainer) == method
    trainer = L.Trainer(default_root_dir=tmp_path, overfit_batches=2, accelerator="cpu", logger=False)
    assert internals.is_overfitting(trainer)


def test_lightnings_process_observer_ends_when_told(tmp_path: Path) -> None:
    from lightning.fabric.strategies.launchers.subprocess_script import _ChildProcessObserver

    observer = _ChildProcessObserver(main_pid=0, child_processes=[], sleep_period=0.05)
    observer._run = lambda: False  # type: ignore[method-assign]  # as while all children live
    observer.start()
    assert observer in threading.enumerate() and observer.name == "child-process-observer"
    internals.end_process_observer()
    observer.join(5)
    assert not observer.is_alive()

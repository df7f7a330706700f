"""A run says where it is in a file, and says finished only when it is."""

import json
from pathlib import Path
from typing import Any

import lightning as L
import pytest

from wsa_lightning.reliability.progress import ProgressCallback
from wsa_lightning.training import MUSDBDataModule, StudentModule
from wsa_lightning.training.callbacks.distillation import DistillationCallback


class Breaking(L.Callback):
    """Raises in the second step."""

    def on_train_batch_end(self, *arguments: Any) -> None:
        if arguments[-1] == 1:
            raise ArithmeticError("the loss is NaN")


def fit(songs: Path, teacher: Path, folder: Path, *more: L.Callback, **options: Any) -> None:
    trainer = L.Trainer(
        max_epochs=1, callbacks=[DistillationCallback(str(teacher)), *more, ProgressCallback(every_seconds=0)],
        logger=False, accelerator="cpu", default_root_dir=folder, use_distributed_sampler=False,
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False, **options,
    )  # fmt: skip
    data = MUSDBDataModule(songs, chunk_seconds=0.25, batch_size=1, steps_per_epoch=3, chunks_per_song=1, workers=0)
    trainer.fit(StudentModule(window=6, sinks=2, loss={"audio/l1": 1.0}), data)


def test_a_finished_run_says_so_with_its_steps_and_scores(songs: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    fit(songs, tiny_teacher, tmp_path)
    said = json.loads((tmp_path / "progress" / "fit.json").read_text())
    assert (said["state"], said["step"], said["steps"], said["first_step"]) == ("finished", 3, 3, 0)
    assert isinstance(said["val/usdr"], float)
    assert [path.name for path in (tmp_path / "progress").iterdir()] == ["fit.json"]


def test_a_broken_run_says_what_broke_it_and_never_finished(songs: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    with pytest.raises(ArithmeticError):
        fit(songs, tiny_teacher, tmp_path, Breaking())
    said = json.loads((tmp_path / "progress" / "fit.json").read_text())
    assert (said["state"], said["exception"]) == ("stopped", "ArithmeticError")


def test_a_dry_run_leaves_no_file(songs: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    fit(songs, tiny_teacher, tmp_path, fast_dev_run=True)
    assert not (tmp_path / "progress").exists()

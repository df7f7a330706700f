"""Scores, audio, figures and hyper-parameters reach any Lightning logger that can take them."""

import csv
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger, Logger, WandbLogger

from tests.training.recipe import recipe
from wsa_lightning.training import MUSDBDataModule, StudentModule
from wsa_lightning.training.callbacks.closing import ClosingCallback
from wsa_lightning.training.callbacks.distillation import DistillationCallback
from wsa_lightning.training.callbacks.listening import ListeningCallback
from wsa_lightning.training.media import log_audio, takes_media


def fit(songs: Path, teacher: Path, folder: Path, logger: Logger | list[Logger] | bool) -> L.Trainer:
    trainer = L.Trainer(
        default_root_dir=folder, max_epochs=1, accelerator="cpu", logger=logger, num_sanity_val_steps=-1,
        callbacks=[DistillationCallback(str(teacher)), ListeningCallback(), ClosingCallback()],
        use_distributed_sampler=False, enable_progress_bar=False, enable_model_summary=False, log_every_n_steps=1,
        enable_checkpointing=False,
    )  # fmt: skip
    student = StudentModule(window=6, sinks=2, loss={"audio/l1": 1.0}, **recipe())
    data = MUSDBDataModule(songs, chunk_seconds=0.3, batch_size=1, steps_per_epoch=2, chunks_per_song=1, workers=0)
    trainer.fit(student, data)
    return trainer


def test_csv_gets_the_scores_from_step_0_and_the_hyper_parameters(
    songs: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    logger = CSVLogger(tmp_path, name="", version="")
    fit(songs, tiny_teacher, tmp_path, logger)
    with (tmp_path / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    scored = [int(row["step"]) for row in rows if row["val/teacher_usdr"]]
    assert scored[0] == 0 and len(scored) == 2
    assert "window: 6" in (tmp_path / "hparams.yaml").read_text()


def test_wandb_gets_audio_figures_and_hyper_parameters(
    songs: Path, tiny_teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_SILENT", "true")
    logger = WandbLogger(save_dir=tmp_path, offline=True, project="test")
    try:
        fit(songs, tiny_teacher, tmp_path, [logger, CSVLogger(tmp_path)])
        assert logger.experiment.config["window"] == 6
        media = {path.relative_to(tmp_path / "wandb").parts[2] for path in tmp_path.glob("wandb/*/files/media/**/*")}
        assert media, "no media was written"
        kinds = {path.suffix for path in tmp_path.glob("wandb/*/files/media/**/*.*")}
        assert kinds >= {".wav", ".png"}
    finally:
        logger.experiment.finish()


def test_without_a_logger_nothing_is_missed(songs: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    trainer = fit(songs, tiny_teacher, tmp_path, False)
    assert not any(map(takes_media, trainer.loggers))
    assert (tmp_path / "model.safetensors").is_file() and (tmp_path / "summary.json").is_file()


def test_loud_audio_is_turned_down_and_quiet_audio_is_not(tmp_path: Path) -> None:
    class Kept(CSVLogger):
        def __init__(self) -> None:
            super().__init__(tmp_path)
            self.heard: list[Any] = []

        def log_audio(self, key: str, audios: list[Any], **options: Any) -> None:
            self.heard.append((key, audios[0], options))

        def log_image(self, key: str, images: list[Any], **options: Any) -> None:
            raise AssertionError("no figure was logged")

    logger = Kept()
    trainer = L.Trainer(default_root_dir=tmp_path, logger=logger, accelerator="cpu")
    for gain in (4.0, 0.5):
        log_audio(trainer, "tone", gain * torch.ones(2, 8), 44100, step=3)
    assert [audio.max() for _, audio, _ in logger.heard] == [1.0, 0.5]
    assert logger.heard[0][2] == {"step": 3, "sample_rate": [44100]}

"""The share of the training time that goes into waiting for data is logged, and a large one is warned of."""

import logging
from pathlib import Path
from typing import Any

import lightning as L
import pytest

from wsa_lightning.data.dataset import MixDataset
from wsa_lightning.reliability import waiting
from wsa_lightning.training import MUSDBDataModule, StudentModule
from wsa_lightning.training.callbacks.distillation import DistillationCallback


class Clock:
    """Time that passes only where a test says so; a busy machine changes nothing."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


class OneSecondStep(L.Callback):
    """Arithmetic that takes a second."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_train_batch_start(self, *_: Any, **__: Any) -> None:
        self.clock.now += 1.0


def share(songs: Path, teacher: Path, folder: Path, seconds_a_sample: float, monkeypatch: pytest.MonkeyPatch) -> float:
    """``data/wait`` of a run of four steps."""
    clock, draw = Clock(), MixDataset.__getitem__

    def slow(self: MixDataset, key: tuple[int, int]) -> Any:
        clock.now += seconds_a_sample
        return draw(self, key)

    monkeypatch.setattr(MixDataset, "__getitem__", slow)
    monkeypatch.setattr(waiting, "time", clock)
    monkeypatch.setattr(waiting, "PATIENCE_SECONDS", 3.0)
    trainer = L.Trainer(
        max_epochs=1, logger=False, accelerator="cpu", default_root_dir=folder, use_distributed_sampler=False,
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False, limit_val_batches=0,
        callbacks=[DistillationCallback(str(teacher)), OneSecondStep(clock), waiting.WaitingCallback()],
    )  # fmt: skip
    trainer.fit(
        StudentModule(window=6, sinks=2, loss={"audio/l1": 1.0}),
        MUSDBDataModule(songs, chunk_seconds=0.1, batch_size=1, steps_per_epoch=4, workers=0),
    )
    assert float(trainer.callback_metrics["data/unreadable"]) == 0
    return float(trainer.callback_metrics["data/wait"])


def test_slow_songs_are_logged_and_warned_of_with_the_remedy(
    songs: Path, tiny_teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "wsa_lightning"):
        assert share(songs, tiny_teacher, tmp_path, 3.0, monkeypatch) == pytest.approx(0.75)
    (warning,) = [record for record in caplog.records if record.name == waiting.__name__]
    assert "raise data.workers" in warning.getMessage()


def test_fast_songs_are_no_reason_to_warn(
    songs: Path, tiny_teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "wsa_lightning"):
        assert share(songs, tiny_teacher, tmp_path, 0.25, monkeypatch) == pytest.approx(0.2)
    assert not [record for record in caplog.records if record.name == waiting.__name__]

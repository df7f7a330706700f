"""Windows narrow and sinks warm up as configured, and the finished student has its own window."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

from tests.conftest import TINY
from tests.training.recipe import recipe
from wsa_lightning.attention import Pattern
from wsa_lightning.checkpoints import save
from wsa_lightning.errors import UserError
from wsa_lightning.models import Roformer, Window
from wsa_lightning.training import MUSDBDataModule, StudentModule
from wsa_lightning.training.callbacks.annealing import SinkWarmupCallback, WindowAnnealingCallback, widen
from wsa_lightning.training.callbacks.distillation import DistillationCallback
from wsa_lightning.training.frozen_teacher import FrozenTeacher


@pytest.fixture(scope="module")
def deep_teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two layers, untrained."""
    path = tmp_path_factory.mktemp("teacher") / "deep.safetensors"
    save(Roformer(replace(TINY, depth=2)), path)
    return path


def windows(student: Any) -> tuple[int | None, ...]:
    return tuple(layer.time.blocks[0].attention.pattern.window for layer in student.net.layers)


class Spy(L.Callback):
    """Notes every step's window, and the weights before and after it."""

    def __init__(self) -> None:
        self.training: list[tuple[int | None, ...]] = []
        self.validation: list[tuple[int | None, ...]] = []
        self.states: list[dict[str, torch.Tensor]] = []

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, *_: Any) -> None:
        self.training.append(windows(pl_module))
        self.states.append({name: tensor.clone() for name, tensor in pl_module.net.state_dict().items()})

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        self.validation.append(windows(pl_module))


def train(
    songs: Path, teacher: Path, folder: Path, callback: L.Callback, *, window: Window = 6, sinks: int = 2
) -> tuple[StudentModule, Spy]:
    L.seed_everything(0)
    spy = Spy()
    trainer = L.Trainer(
        default_root_dir=folder, max_epochs=2, accelerator="cpu", logger=False, enable_progress_bar=False,
        callbacks=[DistillationCallback(str(teacher)), callback, spy],
        use_distributed_sampler=False, enable_model_summary=False, enable_checkpointing=False,
    )  # fmt: skip
    student = StudentModule(window=window, sinks=sinks, loss={"audio/l1": 1.0}, **recipe())
    data = MUSDBDataModule(songs, chunk_seconds=0.3, batch_size=1, steps_per_epoch=3, chunks_per_song=1, workers=0)
    trainer.fit(student, data)
    return student, spy


def test_windows_narrow_in_even_stages_and_validation_has_the_students_own(
    songs: Path, deep_teacher: Path, tmp_path: Path
) -> None:
    annealing = WindowAnnealingCallback([20, 10, 4], steps=5)
    student, spy = train(songs, deep_teacher, tmp_path, annealing, window=[6, 16])
    assert spy.training == [(20, 20), (20, 20), (10, 16), (10, 16), (6, 16), (6, 16)]
    assert set(spy.validation) == {(6, 16)}
    assert windows(student) == (6, 16)


def test_a_dilated_layer_is_plain_while_that_reaches_further_than_its_own(deep_teacher: Path) -> None:
    student = StudentModule(window=[4, 16], dilation=[1, 8], loss={"audio/l1": 1.0})
    student.teacher = FrozenTeacher(str(deep_teacher))
    student.net = student.initial_network()
    assert student.net.config.patterns == (Pattern(4, 4), Pattern(16, 4, 8))

    def patterns(least: int | None) -> list[tuple[int, int]]:
        widen(student, least)
        attentions = [layer.time.blocks[0].attention for layer in student.net.layers]
        return [(attention.pattern.window, attention.pattern.dilation) for attention in attentions]

    assert patterns(200) == [(200, 1), (200, 1)]
    assert patterns(100) == [(100, 1), (16, 8)]
    assert patterns(None) == [(4, 1), (16, 8)]


def test_only_the_sinks_move_during_their_warm_up(songs: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    _, spy = train(songs, tiny_teacher, tmp_path, SinkWarmupCallback(steps=2))
    first, warmed, later = spy.states[0], spy.states[2], spy.states[4]
    assert [name for name in first if not torch.equal(first[name], warmed[name])] == ["sinks"]
    assert sum(not torch.equal(warmed[name], later[name]) for name in first) > 10


def test_a_warm_up_of_sinks_that_are_not_there_is_refused(songs: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no sinks.*set it to 0"):
        train(songs, tiny_teacher, tmp_path, SinkWarmupCallback(steps=2), sinks=0)


@pytest.mark.parametrize(("windows", "steps"), [([8], 0), ([], 3), ([0], 3), ([8], -1), ([4, 8], 3)])
def test_half_a_schedule_is_refused(windows: list[int], steps: int) -> None:
    with pytest.raises(UserError, match=r"annealing\.windows"):
        WindowAnnealingCallback(windows, steps)


@pytest.mark.parametrize("own", [16, [20, 16], None])
def test_windows_that_widen_nothing_are_refused(songs: Path, deep_teacher: Path, tmp_path: Path, own: Window) -> None:
    with pytest.raises(UserError, match=r"annealing\.windows is \[16, 8\], but the model's own are"):
        train(songs, deep_teacher, tmp_path, WindowAnnealingCallback([16, 8], steps=2), window=own)


@pytest.mark.parametrize("callback", [WindowAnnealingCallback([20], steps=6), SinkWarmupCallback(steps=6)])
def test_a_phase_as_long_as_the_whole_training_is_refused(
    songs: Path, tiny_teacher: Path, tmp_path: Path, callback: L.Callback
) -> None:
    with pytest.raises(UserError, match=r"steps is 6, but the whole training has 6 steps"):
        train(songs, tiny_teacher, tmp_path, callback)

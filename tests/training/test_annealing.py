"""Windows narrow and sinks warm up as configured, and the finished student has its own window."""

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

from wsa_lightning.errors import UserError
from wsa_lightning.training import MUSDBDataModule, StudentModule
from wsa_lightning.training.callbacks.annealing import SinkWarmupCallback, WindowAnnealingCallback
from wsa_lightning.training.callbacks.distillation import DistillationCallback


class Spy(L.Callback):
    """Notes every step's window, and the weights before and after it."""

    def __init__(self) -> None:
        self.training: list[int | None] = []
        self.validation: list[int | None] = []
        self.states: list[dict[str, torch.Tensor]] = []

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, *_: Any) -> None:
        self.training.append(pl_module.net.layers[0].time.blocks[0].attention.window)
        self.states.append({name: tensor.clone() for name, tensor in pl_module.net.state_dict().items()})

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        self.validation.append(pl_module.net.layers[0].time.blocks[0].attention.window)


def train(
    songs: Path, teacher: Path, folder: Path, callback: L.Callback, *, sinks: int = 2
) -> tuple[StudentModule, Spy]:
    L.seed_everything(0)
    spy = Spy()
    trainer = L.Trainer(
        default_root_dir=folder, max_epochs=2, accelerator="cpu", logger=False, enable_progress_bar=False,
        callbacks=[DistillationCallback(str(teacher)), callback, spy],
        use_distributed_sampler=False, enable_model_summary=False, enable_checkpointing=False,
    )  # fmt: skip
    student = StudentModule(window=6, sinks=sinks, loss={"audio/l1": 1.0}, warmup_steps=1)
    data = MUSDBDataModule(songs, chunk_seconds=0.3, batch_size=1, steps_per_epoch=3, chunks_per_song=1, workers=0)
    trainer.fit(student, data)
    return student, spy


def test_windows_narrow_in_even_stages_and_validation_has_the_students_own(
    songs: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    student, spy = train(songs, tiny_teacher, tmp_path, WindowAnnealingCallback([20, 10, 4], steps=5))
    assert spy.training == [20, 20, 10, 10, 6, 6]
    assert set(spy.validation) == {6}
    assert student.net.layers[0].time.blocks[0].attention.window == 6


def test_only_the_sinks_move_during_their_warm_up(songs: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    _, spy = train(songs, tiny_teacher, tmp_path, SinkWarmupCallback(steps=2))
    first, warmed, later = spy.states[0], spy.states[2], spy.states[4]
    assert [name for name in first if not torch.equal(first[name], warmed[name])] == ["sinks"]
    assert sum(not torch.equal(warmed[name], later[name]) for name in first) > 10


def test_a_warm_up_of_sinks_that_are_not_there_is_refused(songs: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no sinks.*set it to 0"):
        train(songs, tiny_teacher, tmp_path, SinkWarmupCallback(steps=2), sinks=0)


@pytest.mark.parametrize(("windows", "steps"), [([8], 0), ([], 3), ([0], 3), ([8], -1)])
def test_half_a_schedule_is_refused(windows: list[int], steps: int) -> None:
    with pytest.raises(UserError, match=r"annealing\.windows"):
        WindowAnnealingCallback(windows, steps)

"""NaN and infinity never reach the weights; the batch is saved and everything is named."""

import gc
import weakref
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

from tests.training.recipe import recipe
from wsa_lightning.errors import UserError
from wsa_lightning.losses import Taught
from wsa_lightning.reliability.finite import FiniteCallback
from wsa_lightning.reliability.recovery import RecoveryCallback
from wsa_lightning.training import MUSDBDataModule, StudentModule
from wsa_lightning.training.callbacks.averaging import EMACallback
from wsa_lightning.training.callbacks.distillation import DistillationCallback


class Poison(L.Callback):
    """Puts a value into something at some batches (counted over the run)."""

    def __init__(self, what: str, batches: set[int], value: float = float("nan")) -> None:
        self.what, self.batches, self.value = what, batches, value
        self.count = -1
        self.before: torch.Tensor | None = None

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, *_: Any) -> None:
        self.count += 1
        if self.count in self.batches:
            self.before = weights(pl_module)
            if self.what == "targets":
                batch["targets"][0, 0, 0, 5] = self.value
            elif self.what == "teacher_mask":
                self.poison_teacher(pl_module)

    def poison_teacher(self, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, StudentModule) and pl_module.teacher is not None
        teacher, teach = pl_module.teacher, pl_module.teacher.teach

        def poisoned(*arguments: Any) -> Taught:
            taught = teach(*arguments)
            taught.mask[0, 0, 0, 3, 3] = self.value
            teacher.teach = teach  # type: ignore[method-assign]
            return taught

        teacher.teach = poisoned  # type: ignore[method-assign]

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: L.LightningModule, _: Any) -> None:
        if self.what == "gradient" and self.count in self.batches:
            next(p for p in pl_module.parameters() if p.grad is not None).grad[0] = self.value


def weights(module: torch.nn.Module) -> torch.Tensor:
    return torch.nn.utils.parameters_to_vector(module.parameters()).detach().clone()


def fit(
    songs: Path, teacher: Path, folder: Path, poison: Poison, finite: FiniteCallback, accumulate: int = 1
) -> tuple[StudentModule, dict[str, torch.Tensor]]:
    L.seed_everything(0)
    trainer = L.Trainer(
        max_epochs=1, logger=False, accelerator="cpu", default_root_dir=folder, use_distributed_sampler=False,
        enable_progress_bar=False, enable_model_summary=False, accumulate_grad_batches=accumulate, limit_val_batches=0,
        callbacks=[DistillationCallback(str(teacher)), EMACallback(), poison, finite, RecoveryCallback()],
        gradient_clip_val=1.0,
    )  # fmt: skip
    student = StudentModule(window=6, sinks=2, loss={"audio/l1": 1.0, "distill/mask": 1.0}, **recipe(warmup_steps=2))
    data = MUSDBDataModule(songs, chunk_seconds=0.1, batch_size=2, steps_per_epoch=4, workers=0)
    trainer.fit(student, data)
    return student, dict(trainer.callback_metrics)


@pytest.mark.parametrize(
    ("what", "value", "words"),
    [
        ("targets", float("nan"), "the batch's targets is not finite"),
        ("targets", float("inf"), "the batch's targets is not finite"),
        ("teacher_mask", float("nan"), "the batch's teacher_mask is not finite"),
        ("gradient", float("inf"), "the gradient of"),
    ],
)
def test_training_stops_before_the_step_and_names_term_samples_songs_and_file(
    what: str, value: float, words: str, songs: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    poison = Poison(what, {2}, value)
    with pytest.raises(UserError) as error:
        fit(songs, tiny_teacher, tmp_path, poison, FiniteCallback())
    message = str(error.value)
    for word in ("step 2", words, "epoch 0, samples 4, 5", "vocals of 'Song", "nonfinite/step-2-rank-0.pt"):
        assert word in message
    (saved,) = torch.load(tmp_path / "nonfinite" / "step-2-rank-0.pt", weights_only=True)
    assert saved["index"].tolist() == [4, 5]
    assert saved["mixture"].shape == (2, 2, 4410)
    assert len(saved["songs"]) == 8
    assert set(saved["terms"]) == {"audio/l1", "distill/mask"}
    checkpoint = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 2
    assert all(tensor.isfinite().all() for tensor in checkpoint["current_model_state"].values())


def test_a_loss_term_that_is_not_finite_is_named(songs: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    class Overflow(Poison):
        def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, *_: Any) -> None:
            batch["targets"] *= 1e38
            batch["targets"] *= 10.0
            batch["targets"].clamp_(-3e38, 3e38)

    with pytest.raises(UserError, match=r"the loss is inf \(audio/l1 is inf\)"):
        fit(songs, tiny_teacher, tmp_path, Overflow("", set()), FiniteCallback())


@pytest.mark.parametrize("accumulate", [1, 2])
def test_skipping_leaves_out_that_step_alone(accumulate: int, songs: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    poison = Poison("targets", {2})
    student, metrics = fit(songs, tiny_teacher, tmp_path, poison, FiniteCallback("skip", 2), accumulate)
    assert weights(student).isfinite().all()
    assert float(metrics["skipped_steps"]) == 1
    assert poison.before is not None
    assert not torch.equal(poison.before, weights(student)) or accumulate == 2


def test_skipping_stops_at_its_cap(songs: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    finite = FiniteCallback("skip", 2)
    with pytest.raises(UserError, match=r"step 3: .*2 steps were skipped"):
        fit(songs, tiny_teacher, tmp_path, Poison("targets", {0, 1, 3}), finite)


class Losses(Poison):
    """Poisons nothing; notes how many losses of earlier steps, each with its graph, are still there."""

    def __init__(self) -> None:
        super().__init__("nothing", set())
        self.losses: list[weakref.ref[torch.Tensor]] = []
        self.alive: list[int] = []

    def on_before_backward(self, trainer: L.Trainer, pl_module: L.LightningModule, loss: torch.Tensor) -> None:
        gc.collect()
        self.alive.append(sum(reference() is not None for reference in self.losses))
        self.losses.append(weakref.ref(loss))


def test_no_step_outlives_the_next_one(songs: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    losses = Losses()
    fit(songs, tiny_teacher, tmp_path, losses, FiniteCallback())
    assert losses.alive == [0, 0, 0, 0]

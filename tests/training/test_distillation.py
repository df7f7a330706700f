"""The teacher teaches and nothing else: it is frozen, outside the student, and hands over its mask."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import yaml
from jsonargparse import ArgumentError, ArgumentParser

from tests.conftest import REPOSITORY, TINY
from tests.training.recipe import recipe
from wsa_lightning.checkpoints import load, save, to_student
from wsa_lightning.checkpoints.narrowing import initial_sinks
from wsa_lightning.errors import UserError
from wsa_lightning.losses import Taught
from wsa_lightning.models import Roformer
from wsa_lightning.models.taps import tapped
from wsa_lightning.training import MUSDBDataModule, StudentModule
from wsa_lightning.training.callbacks.averaging import EMACallback
from wsa_lightning.training.callbacks.distillation import DistillationCallback
from wsa_lightning.training.frozen_teacher import FrozenTeacher

LOSS = {"audio/l1": 1.0, "distill/mask": 1.0}


class Spy(L.Callback):
    """Keeps every training batch, and what the teacher taught of it."""

    def __init__(self) -> None:
        self.batches: list[dict[str, Any]] = []
        self.taught: list[Taught] = []

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, StudentModule) and pl_module.teacher is not None
        teach = pl_module.teacher.teach

        def listen(*arguments: Any) -> Taught:
            self.taught.append(teach(*arguments))
            return self.taught[-1]

        pl_module.teacher.teach = listen  # type: ignore[method-assign]

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        self.batches.append(args[1])


def train(
    songs: Path,
    teacher: Path,
    folder: Path,
    *,
    loss: dict[str, float] | None = None,
    model: dict[str, Any] | None = None,
    ckpt_path: Path | None = None,
    **options: Any,
) -> tuple[L.Trainer, StudentModule, DistillationCallback, Spy]:
    L.seed_everything(0)
    distillation, spy = DistillationCallback(str(teacher)), Spy()
    trainer = L.Trainer(
        **{
            "default_root_dir": folder, "max_epochs": 1, "num_sanity_val_steps": -1, "accelerator": "cpu",
            "callbacks": [distillation, EMACallback(), spy], "logger": False, "enable_progress_bar": False,
            "use_distributed_sampler": False, "enable_model_summary": False, **options,
        }
    )  # fmt: skip
    student = StudentModule(loss=loss or LOSS, **{"window": 6, "sinks": 2, **recipe(1e-3), **(model or {})})
    data = MUSDBDataModule(songs, chunk_seconds=0.5, batch_size=2, steps_per_epoch=3, chunks_per_song=2, workers=0)
    trainer.fit(student, data, ckpt_path=ckpt_path, weights_only=False)
    return trainer, student, distillation, spy


@pytest.fixture(scope="module")
def trained(songs: Path, tiny_teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return train(songs, tiny_teacher, tmp_path_factory.mktemp("run"))


def test_the_teacher_stays_as_it_was_and_gets_no_gradient(trained: Any, tiny_teacher: Path) -> None:
    teacher = trained[2].teacher.network
    for (name, one), other in zip(teacher.state_dict().items(), load(tiny_teacher).state_dict().values(), strict=True):
        assert torch.equal(one, other), name
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in teacher.parameters())


def test_the_teacher_is_in_neither_optimizer_nor_checkpoint(trained: Any, tmp_path: Path) -> None:
    trainer, student, distillation, _ = trained
    optimized = {id(p) for group in trainer.optimizers[0].param_groups for p in group["params"]}
    assert not optimized & {id(parameter) for parameter in distillation.teacher.network.parameters()}
    assert optimized == {id(parameter) for parameter in student.net.parameters()}
    trainer.save_checkpoint(tmp_path / "student.ckpt")
    names = torch.load(tmp_path / "student.ckpt", weights_only=True)["state_dict"]
    assert all(name.startswith("net.") for name in names)


def test_every_step_gets_the_mask_the_teacher_gives_for_its_mixture(trained: Any) -> None:
    _, _, distillation, spy = trained
    assert len(spy.batches) == len(spy.taught) == 3
    for batch, taught in zip(spy.batches, spy.taught, strict=True):
        with torch.no_grad():
            expected = distillation.teacher.network(batch["mixture"]).mask
        torch.testing.assert_close(taught.mask, expected)


def test_hidden_states_and_attention_updates_are_compared_with_the_teachers(
    songs: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    loss = {"audio/l1": 1.0, "distill/hidden": 1.0, "distill/attention": 1.0}
    trainer, _, distillation, spy = train(songs, tiny_teacher, tmp_path, loss=loss, limit_val_batches=0)
    for name in ("distill/hidden", "distill/attention"):
        assert 0 < float(trainer.callback_metrics[name]) < 10
    assert distillation.teacher is not None
    network = distillation.teacher.network
    with torch.no_grad(), tapped(network, ["hidden", "attention"]) as expected:
        network(spy.batches[-1]["mixture"])
    for tap in ("hidden", "attention"):
        torch.testing.assert_close(spy.taught[-1].features[tap], expected[tap])


def test_bins_weigh_as_much_as_the_mixture_has_there_and_one_on_average(
    trained: Any, songs: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    loss = {"distill/mask_weighted": 1.0}
    _, student, _, spy = train(songs, tiny_teacher, tmp_path, loss=loss, limit_val_batches=0)
    for batch, taught in zip(spy.batches, spy.taught, strict=True):
        magnitude = student.net.spectral(batch["mixture"]).abs()
        assert taught.mask_weight is not None
        assert float(taught.mask_weight.mean()) == pytest.approx(1.0, rel=1e-5)
        torch.testing.assert_close(taught.mask_weight * magnitude.mean(), magnitude)
    assert all(taught.mask_weight is None for taught in trained[3].taught), "no term asks for them"


def test_compiled_layers_and_terms_that_look_inside_them_are_refused_together() -> None:
    for name in ("distill/hidden", "distill/attention"):
        with pytest.raises(UserError, match=r"set model\.compile false"):
            StudentModule(loss={**LOSS, name: 1.0}, compile=True)
    StudentModule(loss={**LOSS, "distill/hidden": 0.0}, compile=True)


def test_what_the_paper_does_not_do_is_off_unless_asked_for() -> None:
    base = yaml.safe_load((REPOSITORY / "configs" / "base.yaml").read_text())
    assert set(base["model"]["init_args"]["loss"]) == {"audio/l1", "audio/stft", "distill/mask_weighted"}
    assert isinstance(base["model"]["init_args"]["window"], int)
    assert base["model"]["init_args"]["sink_learning_rate"] is None
    assert base["model"]["init_args"]["sink_start"] == "mean"


def test_without_a_distillation_term_the_teacher_does_not_run(songs: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    *_, spy = train(songs, tiny_teacher, tmp_path, loss={"audio/l1": 1.0}, limit_val_batches=0)
    assert len(spy.batches) == 3 and not spy.taught


def test_bf16_trains_with_finite_losses(songs: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    trainer, student, *_ = train(songs, tiny_teacher, tmp_path, precision="bf16-mixed", limit_val_batches=0)
    assert torch.isfinite(trainer.callback_metrics["loss"])
    assert all(torch.isfinite(parameter).all() for parameter in student.parameters())


def test_the_student_at_step_0_is_known_and_the_scores_follow_their_formulas(trained: Any) -> None:
    trainer, _, distillation, _ = trained
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    teacher = distillation.teacher
    assert teacher.baseline is not None
    assert metrics["val/delta_db"] == pytest.approx(metrics["val/usdr"] - metrics["val/teacher_usdr"], abs=1e-4)
    scores = teacher.compare(student=9.0, teacher=10.0)
    assert scores["val/retained"] == pytest.approx(0.9)
    assert scores["val/recovered"] == pytest.approx((9.0 - teacher.baseline) / (10.0 - teacher.baseline))


def test_sinks_start_where_the_option_says(songs: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    starts = {}
    for start in ("mean", "random"):
        distillation = DistillationCallback(str(tiny_teacher))
        trainer = L.Trainer(default_root_dir=tmp_path, callbacks=[distillation], logger=False, accelerator="cpu")
        student = StudentModule(window=6, sinks=2, sink_start=start, loss=LOSS)
        data = MUSDBDataModule(songs, chunk_seconds=0.5, batch_size=2, steps_per_epoch=1, workers=0)
        trainer.validate(student, data, verbose=False)
        starts[start] = student.net.sinks.detach()
    assert len({tuple(tensor.shape) for tensor in starts.values()}) == 1
    assert float(starts["random"].std()) == pytest.approx(0.02, rel=0.1)
    assert not torch.allclose(starts["mean"], starts["random"])


def test_an_unknown_start_of_the_sinks_is_refused() -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(StudentModule, "model", skip={"optimizer"})
    with pytest.raises(ArgumentError, match=r"model\.sink_start(.|\n)*'mean', 'random'(.|\n)*zero"):
        parser.parse_args(["--model.sink_start=zero"])
    with pytest.raises(UserError, match="mean, random"):
        initial_sinks(Roformer(TINY), 2, "zero")


def test_a_student_without_a_teacher_is_refused(songs: Path, tmp_path: Path) -> None:
    trainer = L.Trainer(default_root_dir=tmp_path, callbacks=[DistillationCallback(None)], logger=False)
    with pytest.raises(UserError, match=r"--distillation\.teacher"):
        trainer.fit(StudentModule(loss=LOSS), MUSDBDataModule(songs, workers=0))


def test_sinks_with_a_learning_rate_of_their_own_learn_by_it_and_without_decay(
    songs: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    model = {"sink_learning_rate": 0.01, "sink_start": "random", **recipe(0.0, weight_decay=0.5)}
    trainer, student, distillation, _ = train(songs, tiny_teacher, tmp_path, model=model, limit_val_batches=0)
    groups = trainer.optimizers[0].param_groups
    assert [(group["name"], group["weight_decay"], len(group["params"])) for group in groups] == [
        ("network", 0.5, len(list(student.net.parameters())) - 1),
        ("sinks", 0.0, 1),
    ]
    teacher = distillation.teacher.network
    began = to_student(teacher, replace(teacher.config, window=6, sinks=2), sink_start="random").state_dict()
    changed = {name for name, value in student.net.state_dict().items() if not torch.equal(value, began[name])}
    assert changed == {"sinks"}


def test_a_learning_rate_of_sinks_where_there_are_none_is_refused(
    songs: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"sink_learning_rate is 0\.01, but the model has no sinks: set it to null"):
        train(songs, tiny_teacher, tmp_path, model={"sinks": 0, "sink_learning_rate": 0.01})


def test_a_resumed_run_takes_the_learning_rates_it_is_given_now_but_not_another_division(
    songs: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    trainer, *_ = train(songs, tiny_teacher, tmp_path, model={"sink_learning_rate": 0.01}, limit_val_batches=0)
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    again = {"ckpt_path": tmp_path / "half.ckpt", "max_epochs": 2, "limit_val_batches": 0}
    model = {"sink_learning_rate": 0.125, **recipe(0.5)}
    resumed, *_ = train(songs, tiny_teacher, tmp_path, model=model, **again)
    groups = resumed.optimizers[0].param_groups
    assert [group["initial_lr"] for group in groups] == [0.5, 0.125]
    assert groups[0]["lr"] / 0.5 == groups[1]["lr"] / 0.125 < 1, "both follow the same schedule"
    assert resumed.lr_scheduler_configs[0].scheduler.base_lrs == [0.5, 0.125]
    with pytest.raises(UserError, match="sink_learning_rate is None, but the checkpoint was trained with one"):
        train(songs, tiny_teacher, tmp_path, **again)


@pytest.mark.parametrize("key", ["optimizer.lr", "optimizer.weight_decay", "sink_learning_rate"])
@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf")])
def test_a_rate_that_would_climb_or_explode_is_refused(key: str, value: float) -> None:
    options = {
        "optimizer.lr": recipe(value),
        "optimizer.weight_decay": recipe(weight_decay=value),
        "sink_learning_rate": {"sink_learning_rate": value},
    }
    student = StudentModule(loss=LOSS, **options[key])
    with pytest.raises(UserError, match=r"model\."):
        student.optimization.make(Roformer(replace(TINY, sinks=2)), steps=10)


def test_the_noise_of_sinks_follows_the_seed_and_sinks_of_a_teacher_are_reused_with_a_warning(
    tiny_teacher: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def sinks(seed: int, teacher: Path) -> torch.Tensor:
        L.seed_everything(seed)
        student = StudentModule(window=6, sinks=2, sink_start="random", loss=LOSS)
        student.teacher = FrozenTeacher(str(teacher))
        return student.initial_network().sinks.detach()

    assert torch.equal(sinks(0, tiny_teacher), sinks(0, tiny_teacher))
    assert not torch.equal(sinks(0, tiny_teacher), sinks(1, tiny_teacher))
    assert "Reusing" not in caplog.text
    teacher = load(tiny_teacher)
    own = to_student(teacher, replace(teacher.config, window=6, sinks=2), seed=7)
    save(own, tmp_path / "own.safetensors")
    assert torch.equal(sinks(0, tmp_path / "own.safetensors"), own.sinks)
    assert "Reusing the teacher's 2 sinks; model.sink_start is ignored." in caplog.text

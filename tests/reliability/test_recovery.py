"""A run killed at any moment and taken up from ``last.ckpt`` ends with the weights of an undisturbed one."""

import json
import random
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins import MixedPrecision

from tests.conftest import Run
from tests.reliability.saboteur import HOOKS, DisasterError, Noise, Saboteur
from tests.training.recipe import recipe
from wsa_lightning.checkpoints import load
from wsa_lightning.reliability.checkpoint_io import AtomicCheckpointIO
from wsa_lightning.reliability.recovery import HeldSignal, RecoveryCallback
from wsa_lightning.training import MUSDBDataModule, StudentModule
from wsa_lightning.training.callbacks.averaging import EMACallback
from wsa_lightning.training.callbacks.distillation import DistillationCallback


class Scores(L.Callback):
    """The validation scores of a run, by step."""

    def __init__(self) -> None:
        self.seen: dict[int, float] = {}

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.sanity_checking:  # which a resumed run may begin with, at a step that is not validated
            self.seen[trainer.global_step] = float(trainer.callback_metrics["val/usdr"])


def fit(
    songs: Path,
    teacher: Path,
    folder: Path,
    *,
    accumulate: int = 1,
    limit: int | float = 1.0,
    half: bool = False,
    validate: int = 1,
    saboteur: Saboteur | None = None,
) -> tuple[torch.Tensor, dict[int, float]]:
    """Train 3 epochs of at most 5 batches, taking up ``last.ckpt`` where there is one: weights and scores."""
    L.seed_everything(0)
    scores = Scores()
    callbacks = [
        DistillationCallback(str(teacher)), EMACallback(), Noise(), scores, RecoveryCallback(None),
        ModelCheckpoint(folder, filename="best", monitor="val/usdr", mode="max"), *([saboteur] if saboteur else []),
    ]  # fmt: skip
    trainer = L.Trainer(
        max_epochs=3, callbacks=callbacks, logger=False, accelerator="cpu", default_root_dir=folder,
        use_distributed_sampler=False, enable_progress_bar=False, enable_model_summary=False,
        accumulate_grad_batches=accumulate, limit_train_batches=limit, check_val_every_n_epoch=validate,
        plugins=[AtomicCheckpointIO(), *([MixedPrecision("16-mixed", "cpu")] if half else [])],
    )  # fmt: skip
    student = StudentModule(window=6, sinks=2, loss={"audio/l1": 1.0, "distill/mask": 1.0}, **recipe(warmup_steps=2))
    data = MUSDBDataModule(songs, chunk_seconds=0.1, batch_size=1, steps_per_epoch=5, chunks_per_song=4, workers=0)
    last = folder / "checkpoints" / "last.ckpt"
    trainer.fit(student, data, ckpt_path=last if last.exists() else None)
    return torch.nn.utils.parameters_to_vector(student.parameters()).detach(), scores.seen


@pytest.mark.parametrize(
    "options",
    [{"accumulate": 2}, {"limit": 3}, {"limit": 0.6, "accumulate": 2, "validate": 2}, {"half": True}],
    ids=["accumulated", "limited", "limited, accumulated, validated every other epoch", "loss scaling"],
)
def test_a_run_killed_at_random_moments_again_and_again_ends_with_the_same_weights_and_scores(
    options: dict[str, Any], songs: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    weights, scores = fit(songs, tiny_teacher, tmp_path / "undisturbed", **options)
    seed = random.SystemRandom().randrange(1000)
    kills = disasters(random.Random(seed))
    seen: dict[int, float] = {}
    for _ in range(100):
        saboteur = next(kills)
        try:
            resumed, more = fit(songs, tiny_teacher, tmp_path / "killed", saboteur=saboteur, **options)
        except DisasterError:
            continue
        break
    assert torch.equal(resumed, weights), seed
    seen |= more
    assert seen.items() <= scores.items(), seed


def test_a_run_killed_after_an_epochs_last_batch_and_once_more_two_epochs_later_loses_no_batch(
    songs: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    weights, _ = fit(songs, tiny_teacher, tmp_path / "undisturbed", limit=3, validate=2)
    for hook, count in (("on_train_epoch_end", 1), ("on_train_batch_end", 4)):
        with pytest.raises(DisasterError):
            fit(songs, tiny_teacher, tmp_path / "killed", limit=3, validate=2, saboteur=Saboteur(hook, count))
    assert torch.equal(fit(songs, tiny_teacher, tmp_path / "killed", limit=3, validate=2)[0], weights)


def disasters(rng: random.Random) -> Iterator[Saboteur]:
    """Four of random kind, then none that is ever reached."""
    for _ in range(4):
        yield Saboteur(rng.choice(HOOKS), rng.randint(1, 4))
    while True:
        yield Saboteur(HOOKS[0], 1000)


def test_ctrl_c_within_an_optimizer_step_waits_for_its_end_and_saves_it(
    songs: Path, tiny_teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_step = StudentModule.optimizer_step

    def interrupted_step(module: StudentModule, *arguments: Any) -> None:
        take_step(module, *arguments)
        if module.trainer.global_step == 2:  # steps before this one
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(StudentModule, "optimizer_step", interrupted_step)
    with pytest.raises(SystemExit):
        fit(songs, tiny_teacher, tmp_path)
    assert torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 3


def test_a_second_ctrl_c_does_not_wait() -> None:
    held = HeldSignal(signal.SIGINT)
    held.hold()
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_process_killed_by_sigterm_ctrl_c_and_sigkill_ends_with_the_weights_of_an_undisturbed_one(
    wsa: Run, songs: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    def start(folder: Path, *more: object, saboteur: dict[str, Any] | None = None) -> subprocess.CompletedProcess[str]:
        callbacks: list[dict[str, Any]] = [{"class_path": "tests.reliability.saboteur.Noise"}]
        if saboteur is not None:
            callbacks.append({"class_path": "tests.reliability.saboteur.Saboteur", "init_args": saboteur})
        return wsa(
            "fit", "--config", "configs/wsa_w16_s4.yaml", "--config", "configs/scale/tiny.yaml", "--data.root", songs,
            "--distillation.teacher", tiny_teacher, "--trainer.default_root_dir", folder, "--trainer.max_epochs", 5,
            "--data.chunk_seconds", 0.25, "--recovery.every_n_steps", 1, "--trainer.callbacks", json.dumps(callbacks),
            "--trainer.logger", "false", *more, timeout=400,
        )  # fmt: skip

    assert start(tmp_path / "undisturbed").returncode == 0
    killed, last = tmp_path / "killed", tmp_path / "killed" / "checkpoints" / "last.ckpt"
    step, steps = 0, []
    for how, code, says in (("SIGTERM", 143, "SIGTERM"), ("SIGINT", 130, "Ctrl-C"), ("SIGKILL", -9, None)):
        count = random.SystemRandom().randint(2, 4)
        resume = ("--ckpt_path", "last") if last.exists() else ()
        hook = random.SystemRandom().choice(HOOKS[:4])
        ended = start(killed, *resume, saboteur={"hook": hook, "count": count, "how": how})
        steps.append(f"{how} in {hook} {count}: {ended.stderr}")
        assert ended.returncode == code, steps[-1]
        lines = [line for line in ended.stderr.splitlines() if line.startswith("stopped by")]
        assert len(lines) == (says is not None), steps[-1]
        assert all(f"stopped by {says} at step" in line and f"--ckpt_path {last}" in line for line in lines)
        assert "Traceback" not in ended.stderr
        step, before = torch.load(last, weights_only=True)["global_step"], step
        assert before < step <= before + count
    ended = start(killed, "--ckpt_path", "last")
    assert ended.returncode == 0, ended.stderr
    ours, undisturbed = (
        load(folder / "model.safetensors").state_dict() for folder in (killed, tmp_path / "undisturbed")
    )
    assert all(torch.equal(ours[name], undisturbed[name]) for name in undisturbed), steps

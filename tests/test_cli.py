"""The command line as users meet it: a student distilled, logged, resumed, scored, written to files."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.conftest import Run
from wsa_lightning.checkpoints import load
from wsa_lightning.separation import separate_file
from wsa_lightning.separation.outputs import StemFormat

TINY_FIT = ("fit", "--config", "configs/wsa_w16_s4.yaml", "--config", "configs/scale/tiny.yaml")
SCALARS = {
    "loss", "audio/l1", "audio/stft", "distill/mask_weighted", "val/usdr", "val/usdr_mean", "val/silent_songs",
    "val/teacher_usdr", "val/delta_db", "val/retained", "val/recovered", "flops/attention", "flops/total",
    "flops/attention_reduction", "flops/attention_reduction_paper",
}  # fmt: skip


@pytest.fixture(scope="module")
def run(wsa: Run, songs: Path, tiny_teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished student run of 2 epochs, every epoch's checkpoint kept."""
    folder = tmp_path_factory.mktemp("run")
    result = wsa(*TINY_FIT, *options(songs, tiny_teacher, folder), "--trainer.max_epochs", 2, *KEEP_ALL)
    assert result.returncode == 0, result.stderr
    (folder / "terminal.txt").write_text(result.stdout)
    return folder


KEEP_ALL = (
    "--trainer.callbacks",
    json.dumps(
        [
            {
                "class_path": "lightning.pytorch.callbacks.ModelCheckpoint",
                "init_args": {"filename": "{epoch}", "save_top_k": -1, "enable_version_counter": False},
            }
        ]
    ),
)


def options(songs: Path, teacher: Path, folder: Path) -> tuple[object, ...]:
    return ("--data.root", songs, "--distillation.teacher", teacher, "--trainer.default_root_dir", folder)


def events(folder: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    accumulator.Reload()
    return accumulator


def test_tensorboard_holds_losses_scores_flops_hparams_audio_and_spectrograms(run: Path) -> None:
    tags = events(run).Tags()
    assert set(tags["scalars"]) >= SCALARS
    listening = {"listening/mixture", *(f"listening/vocals/{name}" for name in ("target", "teacher", "student"))}
    assert set(tags["audio"]) >= listening
    assert "listening/vocals" in tags["images"]
    assert events(run).summary_metadata["_hparams_/session_start_info"]


def test_scores_fit_together_and_begin_with_the_student_at_step_0(run: Path) -> None:
    accumulator = events(run)
    for tag in SCALARS:
        steps = [event.step for event in accumulator.Scalars(tag)]
        assert steps == sorted(steps), tag
    value = {tag: accumulator.Scalars(tag)[-1].value for tag in SCALARS}
    assert accumulator.Scalars("val/usdr")[0].step == 0
    before, after = accumulator.Scalars("val/usdr")[0].value, value["val/usdr"]
    teacher = value["val/teacher_usdr"]
    assert value["val/delta_db"] == pytest.approx(after - teacher, abs=1e-4)
    assert value["val/recovered"] == pytest.approx((after - before) / (teacher - before), rel=1e-2, abs=1e-2)
    assert value["flops/attention_reduction_paper"] == pytest.approx(801 / 20)
    assert 1 < value["flops/attention_reduction"] < 801 / 20


def test_the_closing_table_names_the_scores_the_flops_and_the_logs(run: Path) -> None:
    terminal = (run / "terminal.txt").read_text()
    for words in ("uSDR before training", "uSDR after training", "retained", "time attention", "tensorboard --logdir"):
        assert words in terminal
    assert json.loads((run / "summary.json").read_text())["val/usdr"] == pytest.approx(
        events(run).Scalars("val/usdr")[-1].value, abs=1e-4
    )


def test_checkpoint_and_exported_model_load_without_the_teacher_and_agree(run: Path) -> None:
    exported, checkpoint = load(run / "model.safetensors"), load(run / "checkpoints" / "epoch=1.ckpt")
    assert exported.config == checkpoint.config
    assert (exported.config.window, exported.config.sinks) == (16, 4)
    assert exported.config.chunk_seconds == 1.0, "what configs/scale/tiny.yaml trains with, and not the teacher's"
    mixture = torch.randn(1, 2, 20000)
    with torch.no_grad():
        torch.testing.assert_close(exported(mixture).audio, checkpoint(mixture).audio)


def test_resuming_ends_with_the_weights_of_an_undisturbed_run_and_the_same_folder_works_twice(
    wsa: Run, run: Path, songs: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    first = run / "checkpoints" / "epoch=0.ckpt"
    arguments = (*TINY_FIT, *options(songs, tiny_teacher, tmp_path), "--trainer.max_epochs", 2, "--ckpt_path", first)
    for _ in range(2):
        result = wsa(*arguments)
        assert result.returncode == 0, result.stderr
    assert_same_weights(run, tmp_path, tolerance=0)


@pytest.mark.parametrize("epochs", [2, 1])
def test_a_finished_run_that_is_started_again_stays_as_it_is(
    epochs: int, wsa: Run, run: Path, songs: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    again = shutil.copytree(run, tmp_path / "run")
    files = {name: (again / name).read_bytes() for name in ("model.safetensors", "summary.json")}
    arguments = (*TINY_FIT, *options(songs, tiny_teacher, again), "--trainer.max_epochs", epochs, "--ckpt_path", "last")
    result = wsa(*arguments)
    assert result.returncode == 0, result.stderr
    assert "nothing left to train" in result.stderr
    assert {name: (again / name).read_bytes() for name in files} == files


def assert_same_weights(one: Path, other: Path, tolerance: float) -> None:
    """The exported models agree, relative to the norm of the weights."""
    ours, theirs = (
        torch.nn.utils.parameters_to_vector(load(folder / "model.safetensors").parameters()).detach()
        for folder in (one, other)
    )
    assert float((ours - theirs).norm()) <= tolerance * float(ours.norm())


def test_resuming_with_another_teacher_is_refused(wsa: Run, run: Path, songs: Path, tmp_path: Path) -> None:
    from tests.conftest import TINY
    from wsa_lightning.checkpoints import save
    from wsa_lightning.models import Roformer

    save(Roformer(TINY), tmp_path / "other.safetensors")
    result = wsa(
        *TINY_FIT, *options(songs, tmp_path / "other.safetensors", tmp_path / "run"),
        "--trainer.max_epochs", 2, "--ckpt_path", run / "checkpoints" / "epoch=0.ckpt",
    )  # fmt: skip
    assert result.returncode == 2
    assert "distilled from another" in result.stderr
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_two_ddp_processes_of_half_the_batch_score_and_learn_like_one(
    wsa: Run, run: Path, songs: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    result = wsa(
        *TINY_FIT, *options(songs, tiny_teacher, tmp_path), "--trainer.max_epochs", 2, "--data.batch_size", 1,
        "--trainer.devices", 2, "--trainer.strategy", "ddp", "--trainer.accelerator", "cpu",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    one, two = (json.loads((folder / "summary.json").read_text()) for folder in (run, tmp_path))
    for score in ("val/usdr_step_0", "val/teacher_usdr", "val/usdr"):
        assert two[score] == pytest.approx(one[score], abs=1e-3)
    assert_same_weights(run, tmp_path, tolerance=1e-4)


@pytest.mark.parametrize("teacher", ["gone.ckpt", "small-teacher"])
def test_predict_writes_what_separate_writes_and_test_scores_a_checkpoint_whatever_teacher_is_named(
    teacher: str, wsa: Run, run: Path, songs: Path, tmp_path: Path
) -> None:
    shared = (
        "--config", "configs/wsa_w16_s4.yaml", "--data.root", songs, "--trainer.default_root_dir", tmp_path,
        "--distillation.teacher", teacher, "--ckpt_path", run / "checkpoints" / "epoch=1.ckpt",
    )  # fmt: skip
    tested = wsa("test", *shared)
    assert tested.returncode == 0, tested.stderr
    assert list(json.loads((tmp_path / "test" / "scores.json").read_text())["models"]) == (
        ["model"] if teacher == "gone.ckpt" else ["teacher", "student"]
    )
    predicted = wsa("predict", *shared)
    assert predicted.returncode == 0, predicted.stderr
    student = load(run / "checkpoints" / "epoch=1.ckpt")
    for song in sorted((songs / "test").iterdir()):
        separate_file(student, song / "mixture.wav", tmp_path / song.name, form=StemFormat(subtype="FLOAT"))
        for stem in ("vocals", "instrumental"):
            predicted_stem, rate = soundfile.read(tmp_path / "stems" / song.name / f"{stem}.wav")
            separated_stem, _ = soundfile.read(tmp_path / song.name / f"{stem}.wav")
            assert (predicted_stem.shape, rate) == ((round(2.5 * 44100), 2), 44100)
            assert np.isfinite(predicted_stem).all()
            np.testing.assert_allclose(predicted_stem, separated_stem, atol=1e-6)


def test_the_command_line_beats_yaml_and_yaml_beats_the_checkpoint(
    wsa: Run, run: Path, songs: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    result = wsa(
        *TINY_FIT, *options(songs, tiny_teacher, tmp_path), "--trainer.max_epochs", 2,
        "--ckpt_path", run / "checkpoints" / "epoch=0.ckpt", "--model.window", 6, "--model.dilation", 3,
        "--model.optimizer.lr", 0.125,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert load(tmp_path / "model.safetensors").config.time_attention.columns() == {
        "window": 6,
        "dilation": 3,
        "sinks": 4,
    }
    rates = [event.value for event in events(tmp_path).Scalars("lr-AdamW")]
    assert max(rates) > 0.01, "the checkpoint was trained with 0.001 at most"


def test_a_teacher_trains_from_scratch(wsa: Run, songs: Path, tmp_path: Path) -> None:
    result = wsa(
        "fit", "--config", "configs/teacher.yaml", "--config", "configs/scale/tiny.yaml", "--data.root", songs,
        "--trainer.default_root_dir", tmp_path, "--model.config.dim", 16, "--model.config.depth", 1,
        "--trainer.enable_progress_bar", "false",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "it/s" not in result.stdout + result.stderr, "no bar was wanted"
    assert load(tmp_path / "model.safetensors").config.window is None
    assert "val/teacher_usdr" not in events(tmp_path).Tags()["scalars"]

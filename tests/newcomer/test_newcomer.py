"""What a newcomer adds: each is one file outside the package, and goes through the real commands."""

import csv
import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.conftest import REPOSITORY, Run
from wsa_lightning.checkpoints import load

FOLDER = Path(__file__).parent
FILES = sorted(path for path in FOLDER.glob("*.py") if not path.name.startswith(("__", "test_")))
TINY = ("--config", "configs/wsa_w16_s4.yaml", "--config", "configs/scale/tiny.yaml", "--data.chunk_seconds", 0.5)


def succeed(wsa: Run, *arguments: object) -> str:
    result = wsa(*arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout


def run_options(songs: Path, teacher: object, folder: Path) -> tuple[object, ...]:
    return ("--data.root", songs, "--distillation.teacher", teacher, "--trainer.default_root_dir", folder)


def scalars(folder: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    return accumulator


def test_a_loss_term_with_a_parameter(wsa: Run, songs: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    losses = {}
    for delta in (0.01, 1.0):
        folder = tmp_path / str(delta)
        loss = {"audio/l1": 1.0, "audio/huber": {"weight": 0.5, "delta": delta}}
        succeed(
            wsa, "fit", *TINY, *run_options(songs, tiny_teacher, folder), "--plugins", "[tests.newcomer.huber]",
            "--model.loss", json.dumps(loss),
        )  # fmt: skip
        losses[delta] = scalars(folder).Scalars("audio/huber")[0].value
    assert 0 < losses[0.01] < losses[1.0]


def test_a_parameter_that_a_term_does_not_have_is_named(
    wsa: Run, songs: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    result = wsa(
        "fit", *TINY, *run_options(songs, tiny_teacher, tmp_path), "--plugins", "[tests.newcomer.huber]",
        "--model.loss", json.dumps({"audio/huber": {"weight": 0.5, "epsilon": 0.1}}),
    )  # fmt: skip
    assert result.returncode == 2
    assert "model.loss.audio/huber has no parameters ['epsilon']" in result.stderr and "delta" in result.stderr


def test_a_plugin_that_cannot_be_found_is_named(wsa: Run, songs: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    result = wsa("fit", *TINY, *run_options(songs, tiny_teacher, tmp_path), "--plugins", "[tests.newcomer.nothing]")
    assert result.returncode == 2 and "plugins: tests.newcomer.nothing cannot be imported" in result.stderr


def test_a_layer_with_another_mixing_over_time(wsa: Run, songs: Path, tmp_path: Path) -> None:
    own = ("--model", "tests.newcomer.gated_convolution.ConvolutionTeacher", "--model.dim", 12)
    shared = (*TINY, *run_options(songs, "null", tmp_path), "--model.loss", json.dumps({"audio/l1": 1.0}))
    succeed(wsa, "fit", *shared, *own)
    exported = tmp_path / "model.safetensors"
    assert any(".mix.weight" in name for name in load_file(exported))
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["flops/total"] > 0 and summary["flops/attention"] == 0
    succeed(wsa, "test", *shared, *own, "--ckpt_path", exported)
    assert json.loads((tmp_path / "test" / "scores.json").read_text())["songs"] == 2


def test_a_file_whose_layers_nobody_registered_is_refused_by_name(wsa: Run, songs: Path, tmp_path: Path) -> None:
    from tests.newcomer.gated_convolution import ConvolutionTeacher
    from wsa_lightning.checkpoints import save
    from wsa_lightning.models import Roformer

    path = tmp_path / "convolution.safetensors"
    save(Roformer(ConvolutionTeacher(loss={"audio/l1": 1.0}).config), path)
    assert load(path).config.time_mixer == "gated_convolution"
    song = next((songs / "test").iterdir()) / "mixture.wav"
    separate = ("separate", song, "--checkpoint", path, "--out", tmp_path / "out")
    refused = wsa(*separate)
    assert refused.returncode == 2
    assert "time_mixer is 'gated_convolution'" in refused.stderr and "WSA_LIGHTNING_PLUGINS" in refused.stderr
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WSA_LIGHTNING_PLUGINS", "tests.newcomer.gated_convolution")
        succeed(wsa, *separate)


def test_a_data_module_over_two_arrays_in_memory(wsa: Run, tiny_teacher: Path, tmp_path: Path) -> None:
    data = ("--data", "tests.newcomer.arrays.ArrayData", "--data.seconds", 2.0, "--data.chunk_seconds", 0.5)
    own = ("--distillation.teacher", tiny_teacher, "--trainer.default_root_dir", tmp_path)
    succeed(wsa, "fit", "--config", "configs/wsa_w16_s4.yaml", *data, *own, "--trainer.max_epochs", 1)
    succeed(
        wsa, "test", "--config", "configs/wsa_w16_s4.yaml", *data, *own, "--ckpt_path", tmp_path / "model.safetensors"
    )
    scores = json.loads((tmp_path / "test" / "scores.json").read_text())
    assert scores["songs"] == 1 and set(scores["models"]) == {"teacher", "student"}


def test_a_metric_stands_in_the_table_the_csv_and_the_report(
    wsa: Run, songs: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    run = tmp_path / "runs" / "student"
    said = succeed(
        wsa, "test", *TINY, *run_options(songs, tiny_teacher, run), "--plugins", "[tests.newcomer.crest]",
        "--evaluation.metrics", "[usdr, crest_error]",
    )  # fmt: skip
    assert "crest_error, dB" in said
    with (run / "test" / "scores.csv").open(newline="") as file:
        assert all(float(row["crest_error"]) >= 0 for row in csv.DictReader(file))
    succeed(wsa, "compare", tmp_path / "runs", "--out", tmp_path / "comparison")
    report = (tmp_path / "comparison" / "report.html").read_text()
    assert "crest_error" in report and "crest = peak / rms" in report


def test_another_optimizer(wsa: Run, songs: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    lr = 2.0**-10
    succeed(
        wsa, "fit", *TINY, *run_options(songs, tiny_teacher, tmp_path), "--trainer.max_epochs", 2,
        "--model.optimizer", "tests.newcomer.sign_descent.SignDescent", "--model.optimizer.lr", lr,
        "--model.lr_scheduler", "null", "--model.sinks", 0, "--ema.decay", 0,
    )  # fmt: skip
    began, ended = (torch.nn.utils.parameters_to_vector(load(path).parameters()).detach() for path in (
        tiny_teacher, tmp_path / "model.safetensors"))  # fmt: skip
    steps = ((ended - began).abs() / lr).round()
    assert 0 < steps.max() <= 6, "six steps of one size each"
    other = wsa(
        "fit", *TINY, *run_options(songs, tiny_teacher, tmp_path), "--trainer.max_epochs", 3, "--model.sinks", 0,
        "--model.lr_scheduler", "null", "--ckpt_path", "last",
    )  # fmt: skip
    assert other.returncode == 2
    assert "model.optimizer is AdamW, but the checkpoint was trained with SignDescent" in other.stderr


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_architecture_page_shows_every_example_as_it_is(path: Path) -> None:
    page = (REPOSITORY / "docs" / "architecture.md").read_text()
    shown = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert path.read_text() in shown

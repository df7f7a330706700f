"""``test`` as a user meets it: every song scored beside the teacher, files that say how, failures that sink nobody."""

import csv
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.conftest import TINY, Run
from wsa_lightning.checkpoints import load, save, to_student
from wsa_lightning.checkpoints.model_files import file_hash
from wsa_lightning.flops import closed_form
from wsa_lightning.metrics import DEFINITIONS, score_track
from wsa_lightning.models import Roformer
from wsa_lightning.separation import separate

COLUMNS = ["song", "model", "stem", "seconds", *DEFINITIONS, "nan_frames", "error"]


def test_options(songs: Path, teacher: object, folder: Path) -> tuple[object, ...]:
    return (
        "test", "--config", "configs/wsa_w16_s4.yaml", "--config", "configs/scale/tiny.yaml", "--data.root", songs,
        "--distillation.teacher", teacher, "--trainer.default_root_dir", folder, "--data.cache", folder / "cache",
    )  # fmt: skip


test_options.__test__ = False  # type: ignore[attr-defined]


def scores(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "test" / "scores.json").read_text())


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "test" / "scores.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def untrained(wsa: Run, songs: Path, tiny_teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a test of the student as its teacher makes it, in a folder where a fit left its options."""
    folder = tmp_path_factory.mktemp("untrained")
    (folder / "config.yaml").write_text("fit: mine\n")
    result = wsa(
        *test_options(songs, tiny_teacher, folder), "--model.window", 4, "--model.sinks", 0,
        "--evaluation.audio_songs", 1, "--evaluation.excerpt_seconds", 1,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    (folder / "terminal.txt").write_text(result.stdout)
    return folder


def test_without_a_checkpoint_the_untrained_student_is_scored_beside_its_teacher(
    untrained: Path, songs: Path, tiny_teacher: Path
) -> None:
    """Every figure in the CSV is what the public functions say of the songs."""
    teacher = load(tiny_teacher)
    models = {"teacher": teacher, "student": to_student(teacher, replace(teacher.config, window=4, sinks=0))}
    found = {(row["song"], row["model"]): row for row in rows(untrained)}
    assert list(rows(untrained)[0]) == COLUMNS
    assert len(found) == 4
    for folder in sorted((songs / "test").iterdir()):
        mixture, vocals = (
            torch.from_numpy(soundfile.read(folder / f"{stem}.wav", dtype="float32")[0].T)
            for stem in ("mixture", "vocals")
        )
        for name, model in models.items():
            row = found[folder.name, name]
            expected = score_track(separate(model, mixture, 44100), vocals[None], mixture)
            for metric, (value,) in expected.items():
                assert float(row[metric]) == pytest.approx(value, rel=1e-3, abs=1e-3, nan_ok=True), metric
            assert (row["stem"], float(row["seconds"]), row["error"]) == ("vocals", 2.5, "")


def test_the_json_says_what_was_measured_how_on_what_and_by_whom(untrained: Path, tiny_teacher: Path) -> None:
    found = scores(untrained)
    assert (found["version"], found["songs"], found["failed"], found["split"]) == (1, 2, [], "test")
    assert found["config"] == "config.test.yaml"
    assert found["command"][:4] == ["python", "-m", "wsa_lightning", "test"]
    assert list(found["definitions"]) == list(DEFINITIONS)
    assert found["separation"]["teacher"] == {"block_seconds": 8.0, "step_seconds": 4.0}
    assert found["separation"]["student"]["step_seconds"] == pytest.approx(8.0, abs=0.01)
    teacher, student = found["models"]["teacher"], found["models"]["student"]
    assert (teacher["checkpoint"], teacher["sha256"]) == (str(tiny_teacher), file_hash(tiny_teacher))
    assert (student["checkpoint"], student["sha256"], student["window"], student["sinks"]) == (None, None, 4, 0)
    assert teacher["flops"]["time_attention"] > 10 * student["flops"]["time_attention"]
    assert student["parameters"] == sum(p.numel() for p in Roformer(TINY).parameters())


def test_the_json_says_of_every_metric_what_the_csv_says_song_by_song(untrained: Path) -> None:
    found = scores(untrained)
    for metric in DEFINITIONS:
        columns = {
            model: np.array([float(row[metric]) for row in rows(untrained) if row["model"] == model])
            for model in ("teacher", "student")
        }
        for model, values in columns.items():
            defined = values[~np.isnan(values)]
            expected = {"median": np.median(defined), "mean": defined.mean(), "n": len(defined)} if len(defined) else {
                "median": None, "mean": None, "n": 0
            }  # fmt: skip
            assert found["models"][model]["scores"][metric] == pytest.approx(expected, rel=1e-6), (model, metric)
        difference = columns["student"] - columns["teacher"]
        if not np.isnan(difference).any():
            assert found["difference"][metric]["mean"] == pytest.approx(difference.mean(), rel=1e-5, abs=1e-9)
            assert found["difference"][metric]["low"] <= difference.mean() <= found["difference"][metric]["high"]
    for model in ("teacher", "student"):
        frames = sum(int(row["nan_frames"]) for row in rows(untrained) if row["model"] == model)
        assert found["models"][model]["nan_frames"] == frames


def test_a_second_of_a_song_costs_what_its_blocks_cost_their_overlap_counted_in(untrained: Path) -> None:
    found = scores(untrained)
    costs = {model: content["flops"] for model, content in found["models"].items()}
    assert costs["teacher"]["total"] == closed_form(TINY, 8.0).total
    assert costs["teacher"]["per_second_of_audio"] == 2 * costs["teacher"]["total"] / 8, "blocks of 8 s overlap by half"
    blocks = found["separation"]["student"]
    halos = blocks["block_seconds"] - blocks["step_seconds"]
    assert 0 < halos < 0.5, "a window of 4 frames hears little beyond its block"
    student = closed_form(replace(TINY, window=4), blocks["block_seconds"])
    assert costs["student"]["per_second_of_audio"] == student.total / blocks["step_seconds"]


def test_excerpts_can_be_played_side_by_side(untrained: Path) -> None:
    (folder,) = (untrained / "test" / "audio").iterdir()
    assert folder.name == min(row["song"] for row in rows(untrained))
    signals = {path.stem: soundfile.read(path) for path in folder.iterdir()}
    assert set(signals) == {"mixture", "target", "teacher", "student"}
    assert {(audio.shape, rate) for audio, rate in signals.values()} == {((44100, 2), 44100)}
    assert np.abs(signals["mixture"][0]).max() > 0.01


def test_what_fit_wrote_stays_and_nothing_half_written_does(untrained: Path) -> None:
    assert (untrained / "config.yaml").read_text() == "fit: mine\n"
    assert yaml.safe_load((untrained / "config.test.yaml").read_text())["model"]["init_args"]["window"] == 4
    assert {path.name for path in (untrained / "test").iterdir()} == {"scores.csv", "scores.json", "audio"}
    assert not list(untrained.glob(".test*"))


def test_the_logger_and_the_terminal_get_the_same_scores(untrained: Path) -> None:
    accumulator = EventAccumulator(str(untrained))
    accumulator.Reload()
    found = scores(untrained)
    for tag, value in (
        ("test/usdr", found["models"]["student"]["scores"]["usdr"]["median"]),
        ("test/teacher_csdr", found["models"]["teacher"]["scores"]["csdr"]["median"]),
        ("test/si_sdr_mean", found["models"]["student"]["scores"]["si_sdr"]["mean"]),
        ("test/difference_bleedless", found["difference"]["bleedless"]["mean"]),
    ):
        assert accumulator.Scalars(tag)[-1].value == pytest.approx(value, rel=1e-5), tag
    terminal = (untrained / "terminal.txt").read_text()
    for name in DEFINITIONS:
        assert f"{found['difference'][name]['mean'] or math.nan:+.2f}" in terminal, name
    assert "scores.json" in terminal


def test_a_song_that_fails_is_reported_and_sinks_nobody(
    wsa: Run, songs: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    """One song has a stem of another length, one holds NaN, two are fine; any model file can be tested."""
    root = shutil.copytree(songs, tmp_path / "songs")
    good = sorted(path.name for path in (root / "test").iterdir())
    for name in ("wrong length", "not finite"):
        spoiled = shutil.copytree(root / "test" / good[0], root / "test" / name)
        audio, rate = soundfile.read(spoiled / "vocals.wav", dtype="float32")
        audio = audio[:-7] if name == "wrong length" else np.full_like(audio, np.nan)
        soundfile.write(spoiled / "vocals.wav", audio, rate, subtype="FLOAT")
    save(load(tiny_teacher, window=6, sinks=1), tmp_path / "student.safetensors")
    result = wsa(
        *test_options(root, tiny_teacher, tmp_path), "--ckpt_path", tmp_path / "student.safetensors",
        "--evaluation.metrics", "[usdr]", "--evaluation.audio_songs", 0,
    )  # fmt: skip
    assert result.returncode == 1, result.stderr
    assert "2 songs failed" in result.stderr and "Traceback" not in result.stderr
    found = scores(tmp_path)
    assert found["songs"] == 2
    assert [entry["song"] for entry in found["failed"]] == ["not finite", "wrong length"]
    assert "NaN" in found["failed"][0]["error"] and "mixture.wav has" in found["failed"][1]["error"]
    student = found["models"]["student"]
    assert (student["window"], student["sinks"]) == (6, 1), "a model file says its own window"
    assert student["sha256"] == file_hash(tmp_path / "student.safetensors")
    assert yaml.safe_load((tmp_path / "config.test.yaml").read_text())["ckpt_path"].endswith("student.safetensors")
    failed = [row for row in rows(tmp_path) if row["error"]]
    assert sorted({row["song"] for row in failed}) == ["not finite", "wrong length"]
    assert all(row["usdr"] == "" for row in failed)
    assert sorted({row["song"] for row in rows(tmp_path) if row["usdr"]}) == good


def test_two_ranks_share_the_songs_and_find_the_scores_of_one(
    wsa: Run, untrained: Path, songs: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    result = wsa(
        *test_options(songs, tiny_teacher, tmp_path), "--model.window", 4, "--model.sinks", 0,
        "--evaluation.metrics", "[usdr, csdr, leakage]", "--evaluation.audio_songs", 2,
        "--trainer.devices", 2, "--trainer.strategy", "ddp", "--trainer.accelerator", "cpu",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    one, two = scores(untrained), scores(tmp_path)
    for model in ("teacher", "student"):
        for name in ("usdr", "csdr", "leakage"):
            assert two["models"][model]["scores"][name] == pytest.approx(
                one["models"][model]["scores"][name], abs=1e-3, nan_ok=True
            )
    assert [row["song"] for row in rows(tmp_path)] == [row["song"] for row in rows(untrained)]
    assert "sync_dist" not in result.stderr, "no warning a metric"
    assert len(list((tmp_path / "test" / "audio").iterdir())) == 2

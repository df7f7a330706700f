"""``attention`` as a user runs it."""

import json
import math
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from tests.conftest import TINY
from wsa_lightning.checkpoints import load, save
from wsa_lightning.cli import main
from wsa_lightning.commands.attention import excerpt, stretch
from wsa_lightning.locality.measure import even_share
from wsa_lightning.models import Roformer


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["wsa_lightning", *map(str, words)])
    monkeypatch.setenv("COLUMNS", "200")
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.fixture(scope="module")
def deep_teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("teacher") / "deep.safetensors"
    save(Roformer(replace(TINY, depth=2, chunk_seconds=0.5)), path)
    return path


def test_the_report_holds_curves_maps_and_windows_that_fit_takes_as_they_are_printed(
    songs: Path,
    deep_teacher: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    song, out = next((songs / "test").glob("*/mixture.wav")), tmp_path / "out"
    assert run(monkeypatch, "attention", song, "--checkpoint", deep_teacher, "--out", out) == 0
    printed = capsys.readouterr().out
    report = json.loads((out / "attention.json").read_text())
    assert report["songs"] == [str(song)]
    assert [(e["axis"], e["layer"], len(e["within"])) for e in report["attention"]] == [
        ("time", 0, 2), ("frequency", 0, 2), ("time", 1, 2), ("frequency", 1, 2),
    ]  # fmt: skip
    assert len(report["attention"][0]["within"][0]) == 51, "as many seconds as the model was trained on"
    for name in ("curves", "maps", "heads"):
        for suffix in ("png", "svg"):
            assert (out / f"{name}.{suffix}").stat().st_size > 5000
    assert list((out / "tensorboard").glob("events*"))

    (line,) = [line for line in printed.splitlines() if line.strip().startswith("90%")]
    even = torch.tensor(report["attention"][0]["even_within"])
    torch.testing.assert_close(even, even_share(51).float(), atol=1e-5, rtol=0)
    assert f"(even attention: {2 * int((even < 0.9).sum())})" in line
    options = shlex.split(line.partition(":")[2].partition(" or,")[0])
    assert options == ["--model.window", str(report["windows"]["0.9"])]
    command = (
        "fit", "--config", "configs/wsa_w16_s4.yaml", "--config", "configs/scale/tiny.yaml", "--data.root", songs,
        "--distillation.teacher", deep_teacher, "--trainer.default_root_dir", tmp_path / "run",
        "--trainer.max_steps", 1, "--trainer.num_sanity_val_steps", 0, "--listening.enabled", "false",
    )  # fmt: skip
    assert run(monkeypatch, *command, *options) == 0
    assert [pattern.window for pattern in load(tmp_path / "run" / "model.safetensors").config.patterns] == report[
        "windows"
    ]["0.9"]


def test_a_students_report_says_what_goes_to_the_sinks(
    songs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save(Roformer(replace(TINY, depth=2, window=[4, 6], sinks=3)), tmp_path / "student.safetensors")
    song = next((songs / "test").glob("*/mixture.wav"))
    words = ("attention", song, "--checkpoint", tmp_path / "student.safetensors", "--seconds", 0.3)
    assert run(monkeypatch, *words, "--out", tmp_path / "out") == 0
    report = json.loads((tmp_path / "out" / "attention.json").read_text())
    shares = {(entry["axis"], entry["layer"]): entry["sinks"] for entry in report["attention"]}
    assert min(shares["time", 0] + shares["time", 1]) > 0.1
    assert max(shares["frequency", 0] + shares["frequency", 1]) == 0
    assert all(window <= own for window, own in zip(report["windows"]["0.99"], (4, 6), strict=True))
    printed = capsys.readouterr().out
    row = next(line for line in printed.splitlines() if "layer 1 time" in line)
    assert f"{sum(shares['time', 1]) / len(shares['time', 1]):.3f}" in row
    assert "even attention" not in printed, "a window cannot hold it"


def test_what_holds_no_song_is_named(
    tiny_teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("attention", tmp_path / "absent.wav", "--checkpoint", tiny_teacher, "--out", tmp_path / "out")
    assert run(monkeypatch, *words) == 2
    assert "absent.wav: no such file" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_an_excerpt_is_the_middle_of_the_song_and_no_more_of_it_is_read(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rate = TINY.sample_rate
    noise = np.random.default_rng(0).uniform(-1, 1, (60 * rate, 2))
    soundfile.write(tmp_path / f"song.{suffix}", noise, rate, subtype="PCM_16")
    read = []
    monkeypatch.setattr(
        "wsa_lightning.commands.attention.stretch",
        lambda pieces, *where: stretch((read.append(len(piece)) or piece for piece in pieces), *where),
    )
    middle = excerpt(tmp_path / f"song.{suffix}", TINY, 0.5)
    start = (60 * rate - rate // 2) // 2
    np.testing.assert_allclose(middle, noise[start : start + rate // 2].T, atol=1e-4)
    assert sum(read) < 35 * rate, "what follows the excerpt stays unread"
    np.testing.assert_allclose(excerpt(tmp_path / f"song.{suffix}", TINY, math.inf), noise.T, atol=1e-4)
    np.testing.assert_allclose(excerpt(tmp_path / f"song.{suffix}", TINY, 90), noise.T, atol=1e-4)


def test_an_excerpt_at_another_rate_is_as_long_as_asked_for(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "song.wav", np.zeros((10 * 48000, 1)), 48000)
    assert excerpt(tmp_path / "song.wav", TINY, 2).shape == (2, 2 * TINY.sample_rate)
    assert excerpt(tmp_path / "song.wav", TINY, math.inf).shape == (2, 10 * TINY.sample_rate)


def test_a_whole_song_can_be_looked_at_and_a_device_that_is_not_there_is_named(
    songs: Path, tiny_teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    song = next((songs / "test").glob("*/mixture.wav"))
    words = ("attention", song, "--checkpoint", tiny_teacher, "--out", tmp_path / "out", "--seconds", "all")
    assert run(monkeypatch, *words, "--device", "cpu") == 0
    frames = round(soundfile.info(song).frames / TINY.hop_length) + 1
    report = json.loads((tmp_path / "out" / "attention.json").read_text())
    assert report["seconds"] is None
    assert abs(len(report["attention"][0]["within"][0]) - frames) <= 1
    assert run(monkeypatch, *words, "--device", "cuda:77") == 2
    assert "--device cuda:77 cannot be used" in capsys.readouterr().err


def test_of_musdb_folders_the_mixtures_alone_are_songs_unless_a_stem_is_given_by_name(
    songs: Path, tiny_teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tracks = sorted((songs / "test").iterdir())
    vocals = tracks[0] / "vocals.wav"
    options = ("--checkpoint", tiny_teacher, "--out", tmp_path / "out", "--seconds", 0.3)
    assert run(monkeypatch, "attention", songs / "test", vocals, *options) == 0
    seen = json.loads((tmp_path / "out" / "attention.json").read_text())["songs"]
    assert seen == sorted([str(vocals), *(str(track / "mixture.wav") for track in tracks)])
    assert f"{4 * len(tracks) - 1} stems beside a mixture passed over" in capsys.readouterr().out


def test_where_memory_ends_the_song_and_the_remedy_are_named(
    songs: Path, tiny_teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def exhausted(*_: object, **__: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    monkeypatch.setattr("wsa_lightning.commands.attention.measure", exhausted)
    song = next((songs / "test").glob("*/mixture.wav"))
    assert run(monkeypatch, "attention", song, "--checkpoint", tiny_teacher, "--out", tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert f"{song}: out of memory on cpu" in said
    assert "give fewer --seconds" in said


def test_an_out_that_is_a_file_is_refused_before_anything_is_measured(
    songs: Path, tiny_teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").write_text("mine")
    monkeypatch.setattr("wsa_lightning.commands.attention.measure", lambda *_, **__: pytest.fail("measured"))
    song = next((songs / "test").glob("*/mixture.wav"))
    assert run(monkeypatch, "attention", song, "--checkpoint", tiny_teacher, "--out", tmp_path / "out") == 2
    assert "is a file, expected a folder" in capsys.readouterr().err

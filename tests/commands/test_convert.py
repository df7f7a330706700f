"""``convert`` as a user runs it: teacher to student, ours to public and back, nothing overwritten or half-written."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import yaml

from tests import golden
from wsa_lightning.attention import Pattern
from wsa_lightning.checkpoints import from_public, load, to_public
from wsa_lightning.cli import main
from wsa_lightning.commands.convert import convert
from wsa_lightning.errors import UserError


class Ended(NamedTuple):
    """What a command left on the terminal."""

    returncode: int
    stdout: str
    stderr: str


Convert = Callable[..., Ended]


@pytest.fixture
def wsa(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Convert:
    """The command line, in this process: a process of its own imports for seconds."""

    def run(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["wsa", *map(str, arguments)])
        try:
            main()
            status = 0
        except SystemExit as ended:
            status = int(ended.code or 0)
        return Ended(status, *capsys.readouterr())

    return run


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A public file without a YAML."""
    path = tmp_path_factory.mktemp("teacher") / "teacher.ckpt"
    torch.save({"state_dict": golden.state_dict("melband_full")}, path)
    return path


def test_a_public_teacher_becomes_a_public_student_with_the_papers_names_and_comes_back(
    wsa: Convert, teacher: Path, tmp_path: Path
) -> None:
    result = wsa("convert", teacher, tmp_path / "student.ckpt", "--window", 10, "--sinks", 8)
    assert result.returncode == 0, result.stderr
    assert "window 10, 8 sinks" in result.stdout
    section = yaml.unsafe_load((tmp_path / "student.yaml").read_text())["model"]
    assert (section["wsa_window_len"], section["n_wsa_sinks"]) == (10, 8)
    expected = from_public(golden.state_dict("melband_full"), window=10, sinks=8)
    written = torch.load(tmp_path / "student.ckpt", weights_only=True)
    assert written.keys() == to_public(expected).keys()
    assert all(torch.equal(written[name], tensor) for name, tensor in to_public(expected).items())
    result = wsa("convert", tmp_path / "student.ckpt", tmp_path / "ours.safetensors")
    assert result.returncode == 0, result.stderr
    assert load(tmp_path / "ours.safetensors").config == expected.config
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ours.safetensors", "student.ckpt", "student.yaml"]


def test_a_window_is_dilated_layer_by_layer_and_the_note_says_who_reads_that(wsa: Convert, tmp_path: Path) -> None:
    options = ("--window", "[4, 16]", "--dilation", "[1, 8]")
    result = wsa("convert", "small-teacher", tmp_path / "student.ckpt", *options, "--sinks", 8)
    assert result.returncode == 0, result.stderr
    assert "window 4,16/8, 8 sinks" in result.stdout
    assert "note: a window is dilated: no other code supports that" in result.stdout
    assert load(tmp_path / "student.ckpt").config.patterns == (Pattern(4, 8), Pattern(16, 8, 8))
    result = wsa("convert", tmp_path / "student.ckpt", tmp_path / "plain.ckpt", "--dilation", 1)
    assert result.returncode == 0, result.stderr
    assert "wsa_dilation" not in (tmp_path / "plain.yaml").read_text()
    assert load(tmp_path / "plain.ckpt").config.patterns == (Pattern(4, 8), Pattern(16, 8))


def test_what_is_there_stays_unless_overwriting_is_asked_for(wsa: Convert, teacher: Path, tmp_path: Path) -> None:
    (tmp_path / "out.yaml").write_text("mine")
    result = wsa("convert", teacher, tmp_path / "out.ckpt")
    assert result.returncode == 2
    assert "out.yaml exists" in result.stderr and "--overwrite" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["out.yaml"]
    assert (tmp_path / "out.yaml").read_text() == "mine"
    convert(str(teacher), tmp_path / "out.ckpt", overwrite=True)
    assert load(tmp_path / "out.ckpt").config.window is None


def test_a_word_for_a_number_is_a_usage_error(wsa: Convert, tmp_path: Path) -> None:
    result = wsa("convert", "small", tmp_path / "a.ckpt", "--sinks", "many")
    assert result.returncode == 2
    assert "sinks" in result.stderr and "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("source", "target", "options", "words"),
    [
        ("nowhere.ckpt", "a.ckpt", {}, "nowhere.ckpt is missing"),
        ("small", "a.txt", {}, "expected .safetensors, .ckpt or .onnx"),
        ("small", "a.ckpt", {"format": "ours"}, "expected a name in .safetensors"),
        ("small", "a.ckpt", {"window": 0}, "window is 0"),
        ("small", "a.ckpt", {"sinks": -1}, "sinks is -1"),
        ("small", "a.ckpt", {"dilation": 0}, "dilation is 0"),
        ("small-teacher", "a.ckpt", {"dilation": 2}, "dilation is 2 where window is null"),
        ("small", "a.ckpt", {"config": Path("nowhere.yaml")}, "nowhere.yaml"),
    ],
)
def test_a_bad_argument_is_named_and_nothing_is_written(
    source: str, target: str, options: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=words):
        convert(source, tmp_path / target, **options)
    assert not list(tmp_path.iterdir())


def test_the_note_says_what_public_code_would_build_otherwise(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    convert("small", tmp_path / "small.ckpt")
    assert "mlp_expansion_factor is 1" in capsys.readouterr().out


def test_a_place_that_takes_no_file_is_one_line_and_leaves_nothing(wsa: Convert, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder.ckpt").mkdir()
    for output, words in (("file/a.ckpt", "cannot be written"), ("folder.ckpt", "a folder")):
        result = wsa("convert", "small", tmp_path / output)
        assert result.returncode == 2
        assert result.stderr.startswith("error: ") and words in result.stderr and result.stderr.count("\n") == 1
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder.ckpt"]


def test_a_disk_that_fills_up_leaves_what_was_there(wsa: Convert, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    output = tmp_path / "out.safetensors"
    output.write_bytes(b"mine")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        result = wsa("convert", "small", output, "--overwrite")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert result.returncode == 2
    assert "cannot be written" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == [output.name]
    assert output.read_bytes() == b"mine"

"""A mistake in the options is one line that names the option, the value and what is expected; pipes may close."""

import subprocess
import sys
from pathlib import Path

import pytest
from jsonargparse import ArgumentParser

from tests.conftest import REPOSITORY
from wsa_lightning import __version__
from wsa_lightning.cli import main
from wsa_lightning.cli.messages import OneLineParser
from wsa_lightning.ranges import ClosedUnitInterval, NonNegativeFloat, PositiveInt

FIT = "fit --config configs/wsa_w16_s4.yaml"


def said_by(words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """What a command that fails with status 2 prints to standard error."""
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setattr(sys, "argv", ["wsa_lightning", *words])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("data make songs --songs many", "--songs is many: expected an integer above 0"),
        ("data make songs --sngs 3", "unknown option --sngs, did you mean --songs?"),
        ("data make songs extra words", "unrecognized arguments: extra words"),
        ("data make", "the following arguments are required: root"),
        ("flops --seconds a b", "argument --seconds: invalid float value: 'a'"),
        ("flops --seconds", "argument --seconds: expected at least one argument"),
        ("flops --size big", "--size is big: expected kim or viperx"),
        ("flops --window [a,b]", "--window is a: expected an integer or null"),
        ("convert a b --sinks many", "--sinks is many: expected keep or an integer"),
        ("convert a b --format zip", "--format is zip: expected ours, public, onnx or null"),
        ("sweep", "the following arguments are required: config"),
        (f"{FIT} --model.windw 3", "unknown option --model.windw of wsa_lightning.training.StudentModule, "
                                   "did you mean --model.window?"),
        (f"{FIT} --model.window many", "--model.window is many: expected an integer, a list or null"),
        (f"{FIT} --model.loss 3", "--model.loss is 3: expected a mapping"),
        (f"{FIT} --model Nonsense", "--model is Nonsense: expected a class, such as package.module.Name"),
        (f"{FIT} --model no.Model", "--model is no.Model: No module named 'no'"),
        (f"{FIT} --data.batch_size many", "--data.batch_size is many: expected an integer above 0"),
        (f"{FIT} --data.chunk_secnds 3", "unknown option --data.chunk_secnds of wsa_lightning.training."
                                         "MUSDBDataModule, did you mean --data.chunk_seconds?"),
        (f"{FIT} --emma.decay 1", "unknown option --emma.decay, did you mean --ema.decay?"),
        (f"{FIT} --trainer.max_epochs x", "--trainer.max_epochs is x: expected an integer or null"),
        (f"{FIT} --trainer.callbacks+=Nope", "--trainer.callbacks is Nope: expected a class, such as "
                                             "package.module.Name"),
        ("fit --ckpt_path", "argument --ckpt_path: expected one argument"),
    ],
)  # fmt: skip
def test_a_usage_error_is_one_line_that_says_what_is_expected(
    line: str, error: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = line.split()[0] if line[:4] != "data" else "data make"
    hint = f"`python -m wsa_lightning {command} --help` lists the options"
    assert said_by(line.split(), capsys, monkeypatch) == f"error: {error}; {hint}\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("data:\n  chunk_secnds: 1.0\n", ("unknown option --data.chunk_secnds", "did you mean --data.chunk_seconds?")),
        ("data: [1\n", ("mine.yaml: ", "line 2")),
        (
            "model:\n  class_path: wsa_lightning.training.StudentModule\n  init_args:\n    window: many\n",
            ("mine.yaml: ", "--model.window is many: expected an integer, a list or null"),
        ),
        (
            "model:\n  class_path: wsa_lightning.training.StudntModule\n",
            ("mine.yaml: ", "no attribute 'StudntModule'"),
        ),
        ("trainer:\n  max_epochs: [1, 2]\n", ("mine.yaml: ", "--trainer.max_epochs is [1, 2]: expected an integer")),
    ],
)
def test_an_error_in_a_config_file_is_one_line(
    text: str,
    words: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    said = said_by(["fit", "--config", str(tmp_path / "mine.yaml")], capsys, monkeypatch)
    assert said.startswith("error: ") and said.count("\n") == 1
    for word in words:
        assert word in said


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (["--count", "0"], "--count is 0: expected an integer above 0"),
        (["--count", "x"], "--count is x: expected an integer above 0"),
        (["--maybe", "-1"], "--maybe is -1: expected a number of at least 0 or null"),
        (["--share", "2"], "--share is 2: expected a number from 0 to 1"),
        (["--many", "1", "0"], "--many is 0: expected an integer above 0"),
    ],
)
def test_a_number_out_of_range_is_one_line(value: list[str], error: str, capsys: pytest.CaptureFixture[str]) -> None:
    parser: ArgumentParser = OneLineParser(prog="program")
    parser.add_argument("--count", type=PositiveInt)
    parser.add_argument("--maybe", type=NonNegativeFloat | None)
    parser.add_argument("--share", type=ClosedUnitInterval)
    parser.add_argument("--many", type=PositiveInt, nargs="+")
    with pytest.raises(SystemExit):
        parser.parse_args(value)
    assert capsys.readouterr().err == f"error: {error}; `program --help` lists the options\n"


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["wsa_lightning", "--version"])
    main()
    assert capsys.readouterr().out == f"wsa-lightning {__version__}\n"


@pytest.mark.parametrize("words", [["--help"], ["sweep", "--help"], ["--version"]], ids=" ".join)
def test_a_closed_pipe_does_not_end_in_a_traceback(words: list[str]) -> None:
    command = [sys.executable, "-m", "wsa_lightning", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode in (0, 128 + 13)  # argparse ignores a closed pipe


@pytest.mark.parametrize("command", ["sweep", "doctor"])
def test_the_help_of_our_own_commands_does_not_import_lightning(command: str) -> None:
    code = (
        "import sys, contextlib; from wsa_lightning.cli import main; "
        f"sys.argv = ['wsa_lightning', '{command}', '--help']\n"
        "with contextlib.suppress(SystemExit): main()\n"
        "assert 'lightning' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)

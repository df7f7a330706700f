"""``data`` refuses numbers that make no sense, and names the option."""

import sys
from pathlib import Path

import pytest

from wsa_lightning import cli


@pytest.mark.parametrize(
    ("command", "option", "value", "expected"),
    [
        ("make", "songs", "0", "PositiveInt"),
        ("make", "songs", "2", "at least 3"),
        ("make", "seconds", "0", "PositiveFloat"),
        ("make", "seed", "-1", "NonNegativeInt"),
        ("check", "workers", "0", "PositiveInt"),
        ("check", "sample_rate", "-44100", "PositiveInt"),
    ],
)
def test_a_number_out_of_range_is_named_with_its_option(
    command: str,
    option: str,
    value: str,
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["wsa", "data", command, str(tmp_path / "root"), f"--{option}={value}"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2
    said = capsys.readouterr().err
    for word in (option, value, expected):
        assert word in said
    assert not (tmp_path / "root").exists()

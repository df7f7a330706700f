"""``data`` refuses numbers that make no sense, and names the option."""

import sys
from pathlib import Path

import pytest

from wsa_lightning import cli


@pytest.mark.parametrize(
    ("command", "option", "value", "expected"),
    [
        ("make", "songs", "0", "an integer above 0"),
        ("make", "songs", "2", "at least 3"),
        ("make", "seconds", "0", "a number above 0"),
        ("make", "seed", "-1", "an integer of at least 0"),
        ("check", "workers", "0", "an integer above 0"),
        ("check", "sample_rate", "-44100", "an integer above 0"),
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
    assert len(said.splitlines()) == 1
    assert f"--{option} is {value}" in said
    assert f"expected {expected}" in said
    assert not (tmp_path / "root").exists()

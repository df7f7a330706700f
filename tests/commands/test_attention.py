"""``attention`` as a user runs it."""

import json
from pathlib import Path

from tests.conftest import Run


def test_the_report_holds_curves_maps_and_windows_to_choose(
    songs: Path, tiny_teacher: Path, wsa: Run, tmp_path: Path
) -> None:
    song = next((songs / "test").glob("*/mixture.wav"))
    result = wsa("attention", song, "--checkpoint", tiny_teacher, "--out", tmp_path / "out", "--seconds", 0.5)
    assert result.returncode == 0, result.stderr
    assert "--model.window" in result.stdout
    report = json.loads((tmp_path / "out" / "attention.json").read_text())
    assert [(entry["axis"], len(entry["within"])) for entry in report["attention"]] == [("time", 2), ("frequency", 2)]
    assert len(report["attention"][0]["within"][0]) == 51  # 0.5 s
    assert set(report["windows"]) == {"0.9", "0.95", "0.99"}
    for name in ("curves", "maps", "heads"):
        for suffix in ("png", "svg"):
            assert (tmp_path / "out" / f"{name}.{suffix}").stat().st_size > 5000
    assert list((tmp_path / "out" / "tensorboard").glob("events*"))


def test_what_holds_no_song_is_named(tiny_teacher: Path, wsa: Run, tmp_path: Path) -> None:
    result = wsa("attention", tmp_path / "absent.wav", "--checkpoint", tiny_teacher, "--out", tmp_path / "out")
    assert result.returncode == 2
    assert "absent.wav: no such file" in result.stderr
    assert not (tmp_path / "out").exists()

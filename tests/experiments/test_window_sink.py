"""The window and sink study: its table is made from what finished, and a second time the same."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from wsa_lightning.atomic import write_json
from wsa_lightning.configs import base_config
from wsa_lightning.sweeps.grid import read_sweep, select

STUDY = REPOSITORY / "experiments" / "window_sink"


def test_the_table_holds_the_finished_points_and_is_stable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = tmp_path / "experiments" / "window_sink"
    shutil.copytree(STUDY, here)
    (here / "results.csv").unlink(missing_ok=True)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(REPOSITORY / "configs")
    for name, file, only, value in (
        ("before", "before.yaml", [], 7.0),
        ("after", "sweep.yaml", ["sinks=0", "window=4,null"], 8.0),
    ):
        sweep = read_sweep(here / file, base_config(), tmp_path / name)
        for point in select(sweep, only):
            write_json(point.folder / "progress" / "test.json", {"state": "finished", "test/usdr": value})
            point.finish()
    read_me = here / "README.md"
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, str(here / "tabulate.py"), str(tmp_path / "before"), str(tmp_path / "after")],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stdout == "24 points before and 2 after fine-tuning; 24 in all\n"
        lines = read_me.read_text().splitlines()
        assert "| window | sinks | test uSDR before | test uSDR after |" in lines
        assert "| 4 | 0 | 7.000 | 8.000 |" in lines
        assert lines[lines.index("<!-- end -->") - 1].startswith("| null | 8 |")
    assert len((here / "results.csv").read_text().splitlines()) == 25
    assert (here / "results.png").stat().st_size > 1000
    shutil.rmtree(tmp_path / "before")
    done = subprocess.run(
        [sys.executable, str(here / "tabulate.py"), str(tmp_path / "before"), str(tmp_path / "after")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "0 points before and 2 after fine-tuning; 24 in all\n"
    assert read_me.read_text().splitlines() == lines, "what an earlier call found is kept"

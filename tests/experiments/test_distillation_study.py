"""The distillation study: every arm is a recipe that differs, and the tables pair each with the control of its seed."""

import importlib.util
import json
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.comparison.tested_run import write_tested_run
from tests.conftest import REPOSITORY
from wsa_lightning.configs import base_config
from wsa_lightning.sweeps.grid import read_sweep

STUDY = REPOSITORY / "experiments" / "distillation"


def test_every_arm_runs_with_options_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    points = read_sweep(STUDY / "alone.yaml", base_config()).points
    assert {"arm-plain_seed0", "arm-hidden_seed0", "arm-layers-4-16_seed0"} <= {point.name for point in points}
    assert len({str(point.identity["options"]) for point in points}) == len(points)
    control = read_sweep(STUDY / "control.yaml", base_config()).points[0].identity["options"]
    for point in points:
        options = point.identity["options"]
        assert options.get("model.loss.distill/mask", options.get("model.loss.distill/mask_weighted")) == 10.0
        for shared in ("trainer.max_epochs", "data.steps_per_epoch", "model.optimizer.lr"):
            assert options[shared] == control[shared]
    both = next(p for p in read_sweep(STUDY / "together_w4_s4.yaml", base_config()).points if "-imitation-la" in p.name)
    assert (both.identity["options"]["model.window"], both.identity["options"]["model.sinks"]) == ([2, 6], 4)
    assert [path.name for path in both.configs][-2:] == ["imitation.yaml", "layers_2_6.yaml"]


def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[ModuleType, Path]:
    """A copy of the study that knows no scores yet, and its tabulate.py as a module."""
    here = shutil.copytree(STUDY, tmp_path / "study")
    (here / "scores.csv").unlink(missing_ok=True)  # what the real study found
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setattr(sys, "argv", ["tabulate.py", str(tmp_path / "runs")])
    specification = importlib.util.spec_from_file_location("tabulate", here / "tabulate.py")
    assert specification is not None and specification.loader is not None
    tabulate = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(tabulate)
    return tabulate, here


def write_tested_run_of(here: Path, tmp_path: Path, sweep: str, name: str, **changes: Any) -> None:
    """A finished point of one of the study's sweeps."""
    points = read_sweep(here / f"{sweep}.yaml", base_config(), tmp_path / "runs" / sweep).points
    point = next(point for point in points if point.name == name)
    write_tested_run(point.folder, **changes)
    point.finish()


def test_the_tables_hold_paired_differences_to_the_control_and_are_stable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tabulate, here = study(tmp_path, monkeypatch)
    with pytest.raises(SystemExit, match=r"control is not finished.*control\.yaml"):
        tabulate.main()
    for name, folder, wanted in (
        ("control", "control", {"seed0": 10.1, "seed1": 10.3, "seed2": 10.5}),
        ("alone", "alone", {"arm-plain_seed0": 9.0, "arm-hidden_seed0": 9.8}),
        ("together_w4_s4", "w4_s4", {"arm-plain_seed0": 8.0, "arm-plain_seed1": 8.4}),
    ):
        for point in read_sweep(here / f"{name}.yaml", base_config(), tmp_path / "runs" / folder).points:
            if point.name in wanted:
                write_tested_run(point.folder, usdr=wanted[point.name])
                validated = json.dumps({"val/usdr_mean": wanted[point.name] - 1})
                (point.folder / "summary.json").write_text(validated)
                point.finish()
    kept = []
    for found in (3, 2, 2), (0, 0, 0):  # the second time all folders are gone, and what is known stays
        tabulate.main()
        said = capsys.readouterr().out.splitlines()
        expected = ("control", 3), ("alone", 2), ("together_w10_s8", 0), ("together_w4_s4", 2)
        expected = (("before", 0), *expected, ("long", 0), ("deep", 0))
        new = dict(zip(("control", "alone", "together_w4_s4"), found, strict=True))
        assert said == [f"{name}: {new.get(name, 0)} finished points, {known} in all" for name, known in expected]
        lines = (here / "README.md").read_text().splitlines()
        assert [line for line in lines if line.startswith("### ")] == [
            "### Each alone, w 10, S 8, seed 0",
            "### Together, w 4, S 4",
        ]
        cells = {tuple(line.split(" | ")[:2]): line.split(" | ")[2:7] for line in lines if line.startswith("| ")}
        assert cells["| plain", "0"] == [
            "8.00",
            "10.00 (10.00)",
            "-1.10 (-1.10 .. -1.10)",
            "",
            "-1.00 (-1.00 .. -1.00)",
        ]
        assert cells["| hidden", "0"] == [
            "8.80",
            "10.80 (10.80)",
            "-0.30 (-0.30 .. -0.30)",
            "+0.80 (+0.80 .. +0.80)",
            "-0.20 (-0.20 .. -0.20)",
        ]
        assert cells["| plain", "0, 1"] == [
            "7.20",
            "9.20 (9.20)",
            "-2.00 (-2.00 .. -2.00)",
            "",
            "-1.80 (-1.80 .. -1.80)",
        ]
        kept.append((here / "scores.csv").read_text())
        shutil.rmtree(tmp_path / "runs", ignore_errors=True)
    assert kept[0] == kept[1]
    assert len(kept[0].splitlines()) == 1 + 3 * (3 + 2 + 2 + 1)


def test_scores_of_other_songs_are_not_mixed_into_the_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tabulate, here = study(tmp_path, monkeypatch)
    write_tested_run_of(here, tmp_path, "control", "seed0", songs=("One", "Two"))
    tabulate.main()
    write_tested_run_of(here, tmp_path, "control", "seed1", songs=("One", "Three"))
    with pytest.raises(SystemExit, match="different songs: move that file away"):
        tabulate.main()


def test_each_teacher_is_compared_with_its_own_students(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tabulate, here = study(tmp_path, monkeypatch)
    write_tested_run_of(here, tmp_path, "control", "seed0", usdr=10.0, teacher_usdr=9.0)
    write_tested_run_of(here, tmp_path, "deep", "arm-control_seed0", usdr=10.0, teacher_usdr=7.0)
    tabulate.main()
    rows = [line.split(" | ") for line in (here / "README.md").read_text().splitlines() if line.startswith("| control")]
    assert [row[6] for row in rows] == ["+3.00 (+3.00 .. +3.00)"]
    assert (here / "scores.csv").read_text().count("deep_teacher") == 3

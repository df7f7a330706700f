"""``flops`` as users meet it: the paper's numbers, any size, any duration, a folder of results."""

import csv
import json
import re
from pathlib import Path

import pytest
import torch

from tests.conftest import Run
from wsa_lightning.flops import closed_form
from wsa_lightning.models import Roformer, RoformerConfig
from wsa_lightning.models.config import PUBLISHED


@pytest.fixture(scope="module")
def kim(wsa: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The terminal and the folder of the command in the README."""
    out = tmp_path_factory.mktemp("flops")
    result = wsa("flops", "--seconds", 8, 60, 240, "--out", out)
    assert result.returncode == 0, result.stderr
    return result.stdout, out


def cells(terminal: str, label: str) -> list[list[str]]:
    """The cells beside a label, one list a table."""
    lines = (re.split(r" {2,}", line.strip()) for line in terminal.splitlines())
    return [cells for first, *cells in lines if first == label]


def test_the_table_shows_the_papers_ratio_beside_the_masks_and_the_whole_models(kim: tuple[str, Path]) -> None:
    terminal, _ = kim
    assert cells(terminal, "the paper's T (w + S)")[0] == ["641,601", "14,418", "44.5"]
    assert cells(terminal, "allowed by the mask")[0] == ["641,601", "21,661", "29.6"]
    assert cells(terminal, "time attention, paper's pairs")[0] == ["473.040", "10.630", "44.5"]
    assert [row[2] for row in cells(terminal, "total, mask's pairs")] == ["1.16", "2.33", "6.34"]
    assert cells(terminal, "total, mask's pairs")[0][0] == "3,107.1"
    assert len(cells(terminal, "STFT, inverse: not in total")) == 3


def test_the_folder_holds_the_same_numbers_as_csv_and_json_and_a_figure_in_two_formats(kim: tuple[str, Path]) -> None:
    _, out = kim
    assert sorted(path.name for path in out.iterdir()) == ["flops.csv", "flops.json", "flops.png", "flops.svg"]
    content = json.loads((out / "flops.json").read_text())
    with (out / "flops.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["model"], float(row["seconds"])) for row in rows] == [
        (model, seconds) for seconds in (8.0, 60.0, 240.0) for model in ("teacher", "student")
    ]
    for row, cost in zip(rows, content["costs"], strict=True):
        report = closed_form(RoformerConfig.from_dict(content[row["model"]]), float(row["seconds"]))
        assert int(row["total"]) == cost["total"] == report.total
        assert int(row["stft"]) == report.stft
        assert float(row["total_per_second_of_audio"]) == pytest.approx(report.total / report.seconds)
        song = report.total / report.seconds * float(row["separation_factor"])
        assert float(row["separation_factor"]) >= 1
        assert float(row["total_per_second_of_song"]) == pytest.approx(song)
    assert (out / "flops.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (out / "flops.svg").read_text()


def test_a_students_checkpoint_brings_its_own_window_and_the_options_beat_it(wsa: Run) -> None:
    own = wsa("flops", "--checkpoint", "small", "--seconds", 2)
    assert own.returncode == 0, own.stderr
    assert "student, w 16, S 4" in own.stdout
    options = ("--window", 6, "--sinks", 0, "--seconds", 2)
    other = wsa("flops", "--checkpoint", "small-teacher", *options)
    assert "student, w 6, S 0" in other.stdout
    dilated = wsa("flops", "--checkpoint", "small-teacher", *options, "--dilation", "[1, 8]")
    assert "student, w 6,6/8, S 0" in dilated.stdout
    teachers = [cells(result.stdout, "total, mask's pairs")[0][0] for result in (own, other)]
    assert teachers[0] == teachers[1]


@pytest.mark.parametrize(
    "options, words",
    [
        (("--seconds", "-1"), "positive duration"),
        (("--window", "0"), "window is 0"),
        (("--checkpoint", "gone.ckpt"), "gone.ckpt is missing"),
        (("--config", "kim.yaml"), "pass --checkpoint"),
        (("--size", "small"), "kim"),
    ],
)
def test_what_cannot_be_counted_is_one_line_and_exit_code_2(options: tuple[str, ...], words: str, wsa: Run) -> None:
    result = wsa("flops", *options)
    assert result.returncode == 2
    assert words in result.stderr


@pytest.mark.parametrize("name, millions", [("kim", 228), ("viperx", 160)])
def test_the_published_sizes_have_the_parameters_they_are_known_for(name: str, millions: int) -> None:
    with torch.device("meta"):
        parameters = sum(weight.numel() for weight in Roformer(PUBLISHED[name]).parameters())
    assert round(parameters / 1e6) == pytest.approx(millions, abs=1)

"""Distributions over songs: teacher, student before and after training, side by side."""

import re
from pathlib import Path

import pytest

from tests.comparison.tested_run import write_tested_run
from wsa_lightning.comparison import writing
from wsa_lightning.comparison.boxes import box_order, boxes_figure, distributions
from wsa_lightning.comparison.groups import Comparison, compare_runs
from wsa_lightning.comparison.html_report import html_report


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    runs = tmp_path_factory.mktemp("runs")
    write_tested_run(runs / "before" / "w16_s4", usdr=5.0, trained=False)
    write_tested_run(runs / "before" / "w4_s4", window=4, usdr=3.0, trained=False)
    write_tested_run(runs / "after" / "w16_s4", usdr=9.0)
    write_tested_run(runs / "after" / "w4_s4", window=4, usdr=8.0)
    return compare_runs([str(runs)])


def test_a_student_before_training_stands_beside_itself_after_it_below_the_teacher(compared: Comparison) -> None:
    (group,) = compared.groups
    names = [model.name for model in box_order(group.models)]
    assert names == ["teacher", "before/w16_s4", "after/w16_s4", "before/w4_s4", "after/w4_s4"]
    figure = boxes_figure(group)
    assert figure is not None
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == names
    assert [axes.get_xlabel() for axes in figure.axes] == ["uSDR, dB", "cSDR, dB", "bleedless", "fullness"]


def test_a_student_with_a_window_a_layer_has_its_box_too(tmp_path: Path) -> None:
    write_tested_run(tmp_path / "before", window=[4, 16], usdr=5.0, trained=False)
    write_tested_run(tmp_path / "after", window=[4, 16], usdr=9.0)
    (group,) = compare_runs([str(tmp_path)]).groups
    assert [model.name for model in box_order(group.models)] == ["teacher", "before", "after"]


def test_a_dilated_window_is_another_one_and_every_table_says_so(tmp_path: Path) -> None:
    write_tested_run(tmp_path / "plain", window=[4, 16], usdr=9.0)
    for name, usdr, trained in (("before", 5.0, False), ("after", 9.5, True)):
        write_tested_run(tmp_path / name, window=[4, 16], dilation=[1, 8], usdr=usdr, trained=trained)
    comparison = compare_runs([str(tmp_path)])
    (group,) = comparison.groups
    assert [model.name for model in box_order(group.models)] == ["teacher", "before", "after", "plain"]
    assert {(row["window"], row["dilation"]) for row in writing.rows(comparison)} == {
        ("full", 1), ("4,16", 1), ("4,16", "1,8"),
    }  # fmt: skip
    assert ">4,16/8<" in html_report(comparison)


def test_the_quantiles_are_those_of_the_songs(compared: Comparison) -> None:
    columns = distributions(compared.groups[0])
    rows = {row[0::2][:2]: dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)}
    assert len(rows) == 5 * 4
    row = rows["after/w16_s4", "uSDR"]  # three songs: 9, 10 and 11 dB
    headings = ("songs", "minimum", "lower quartile", "median", "upper quartile", "maximum", "mean")
    assert [float(row[name]) for name in headings] == [3, 9.0, 9.5, 10.0, 10.5, 11.0, 10.0]
    assert [rows[name, "cSDR"]["kind"] for name in ("teacher", "before/w4_s4", "after/w4_s4")] == [
        "teacher", "student before fine-tuning", "student or model, trained",
    ]  # fmt: skip


def test_the_report_holds_figure_and_table(compared: Comparison) -> None:
    html = html_report(compared)
    assert "Distributions over songs" in html
    assert len(re.findall("<td>student before fine-tuning</td>", html)) == 2 * 4


def test_runs_that_were_only_fit_have_no_songs_and_no_boxes(compared: Comparison) -> None:
    (group,) = compared.groups
    for model in group.models:
        assert model.songs
        model.per_song.clear()
    assert boxes_figure(group) is None
    assert not any(distributions(group).values())

"""Output of a comparison: the table on the terminal, CSV, figures, the report, TensorBoard events."""

from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

from wsa_lightning import figures
from wsa_lightning.comparison.boxes import boxes_figure
from wsa_lightning.comparison.events import write_events
from wsa_lightning.comparison.groups import Comparison, Group
from wsa_lightning.results import decimals, percent, results_folder, to_csv
from wsa_lightning.comparison.pareto import pareto_figure
from wsa_lightning.comparison.html_report import html_report
from wsa_lightning.comparison.runs import LABELS, Model, Score

NO_SCORE = Score(None, None)
OTHER_METRICS = ("csdr", "bleedless", "fullness", "leakage")


def group_tables(group: Group, width: int) -> list[Table]:
    """The group for a terminal of ``width`` columns: one table, or if that is too wide, scores and costs separately."""
    usdr: dict[str, list[str]] = {
        "uSDR": [decimals(model.scores["usdr"].median) for model in group.models],
        "mean": [decimals(model.scores["usdr"].mean) for model in group.models],
        "to teacher (95 %)": [interval(model) for model in group.models],
        "retained": [percent(model.retained) for model in group.models],
    }
    others = {
        LABELS[metric]: [decimals(model.scores.get(metric, NO_SCORE).median) for model in group.models]
        for metric in OTHER_METRICS
        if any(metric in model.scores for model in group.models)
    }
    costs = {
        "GFLOP/s audio": [decimals(model.flops_per_second / 1e9, 3) for model in group.models],
        "time att.": ["" if model.reduction is None else f"1 / {model.reduction:.1f}" for model in group.models],
    }
    title = f"{group.letter}: {group.title}"
    pattern = {
        "w": [str(model.pattern) for model in group.models],
        "S": [str(model.pattern.sinks) for model in group.models],
    }
    whole = _table(group, title, {**pattern, **usdr, **others, **costs})
    console = Console(width=1000)
    if Measurement.get(console, console.options, whole).maximum <= width:
        return [whole]
    return [_table(group, title, {**pattern, **usdr}), _table(group, "", {**others, **costs})]


def _table(group: Group, title: str, columns: dict[str, list[str]]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("")
    table.add_column("run", overflow="fold")
    for heading in columns:
        table.add_column(heading, justify="right", no_wrap=True)
    for model, on, *cells in zip(group.models, group.front, *columns.values(), strict=True):
        table.add_row("★" if on else "", escape(model.name), *cells)
    return table


def interval(model: Model) -> str:
    """Mean difference to the teacher, and its interval."""
    if model.difference is None:
        return ""
    low, high = model.difference.low, model.difference.high
    around = "" if low is None or high is None else f" [{low:+.2f}, {high:+.2f}]"
    return f"{model.difference.mean:+.2f}{around}"


def rows(comparison: Comparison) -> list[dict[str, Any]]:
    """The rows of ``compare.csv``, one per model: FLOPs, not GFLOPs; medians and means of all metrics."""
    metrics = sorted({metric for group in comparison.groups for model in group.models for metric in model.scores})
    return [
        {
            "group": group.letter,
            "scored_on": group.title,
            "run": model.name,
            "is_teacher": model.is_teacher,
            "pareto": on,
            **model.pattern.columns(),
            **{
                f"{metric}_{kind}": getattr(model.scores.get(metric, NO_SCORE), kind)
                for metric in metrics
                for kind in ("median", "mean")
            },
            "difference_mean": model.difference and model.difference.mean,
            "difference_low": model.difference and model.difference.low,
            "difference_high": model.difference and model.difference.high,
            "retained": model.retained,
            "flops_per_second_of_audio": model.flops_per_second,
            "block_seconds": model.blocks and model.blocks[0],
            "step_seconds": model.blocks and model.blocks[1],
            "time_attention_reduction": model.reduction,
        }
        for group in comparison.groups
        for model, on in zip(group.models, group.front, strict=True)
    ]


def write_comparison(comparison: Comparison, out: Path) -> None:
    """Write ``compare.csv``, ``pareto``, ``boxes`` (.png, .svg), ``report.html`` and ``tensorboard/`` into ``out``.

    Several groups have separate box plots: ``boxes_A``, ``boxes_B``, ...
    """
    with results_folder(out) as folder:
        (folder / "compare.csv").write_text(to_csv(rows(comparison)), encoding="utf-8")
        figures.save(pareto_figure(*(group.panel for group in comparison.groups)), folder / "pareto")
        for group in comparison.groups:
            if (boxes := boxes_figure(group)) is not None:
                figures.save(boxes, folder / ("boxes" if len(comparison.groups) == 1 else f"boxes_{group.letter}"))
        (folder / "report.html").write_text(html_report(comparison), encoding="utf-8")
        write_events(comparison, folder / "tensorboard")

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
from wsa_lightning.comparison.columns import NO_SCORE, Columns, metrics_and_cost, pattern_and_usdr
from wsa_lightning.comparison.events import write_events
from wsa_lightning.comparison.groups import Comparison, Group
from wsa_lightning.comparison.html_report import html_report
from wsa_lightning.comparison.pareto import pareto_figure
from wsa_lightning.results import results_folder, to_csv

TERMINAL_METRICS = ("csdr", "bleedless", "fullness", "leakage")


def group_tables(group: Group, width: int) -> list[Table]:
    """The group for a terminal of ``width`` columns: one table, or if that is too wide, scores and costs separately."""
    usdr, others = pattern_and_usdr(group), metrics_and_cost(group, TERMINAL_METRICS)
    title = f"{group.letter}: {group.title}"
    whole = _table(group, title, usdr | others)
    console = Console(width=1000)
    if Measurement.get(console, console.options, whole).maximum <= width:
        return [whole]
    return [_table(group, title, usdr), _table(group, "", others)]


def _table(group: Group, title: str, columns: Columns) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("")
    table.add_column("run", overflow="fold")
    for heading in columns:
        table.add_column(heading, justify="right", no_wrap=True)
    for model, on, *cells in zip(group.models, group.front, *columns.values(), strict=True):
        table.add_row("★" if on else "", escape(model.name), *cells)
    return table


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
        figures.save(pareto_figure(*comparison.groups), folder / "pareto")
        for group in comparison.groups:
            if (boxes := boxes_figure(group)) is not None:
                figures.save(boxes, folder / ("boxes" if len(comparison.groups) == 1 else f"boxes_{group.letter}"))
        (folder / "report.html").write_text(html_report(comparison), encoding="utf-8")
        write_events(comparison, folder / "tensorboard")

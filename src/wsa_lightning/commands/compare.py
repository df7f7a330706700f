"""``compare``: finished runs side by side."""

import sys
from pathlib import Path

from rich.console import Console

from wsa_lightning.comparison.groups import compare_runs
from wsa_lightning.comparison.writing import group_tables, write_comparison
from wsa_lightning.errors import UserError


def compare(runs: list[str], *, out: Path = Path("comparison")) -> None:
    """Compare finished runs: table, Pareto front, CSV, figures, an HTML report with audio, TensorBoard events.

    Args:
        runs: folders of runs, folders that contain runs, or globs.
        out: folder for compare.csv, pareto and boxes (.png, .svg), report.html and tensorboard/.
    """
    console, errors = Console(), Console(stderr=True, highlight=False)
    with console.status("reading runs"):
        comparison = compare_runs(runs)
    if not comparison.groups:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in comparison.left_out.items())
        raise UserError(f"no run can be compared ({reasons}): finish one with `fit`, then `test`")
    for group in comparison.groups:
        for table in group_tables(group, console.width):
            console.print(table)
    for warning in comparison.warnings():
        errors.print(f"warning: {warning}", markup=False, soft_wrap=True)
    console.print(
        "★ on the Pareto front: no other model scores as high and costs as little. Scores are medians over songs."
    )
    with console.status("writing the report"):
        write_comparison(comparison, out)
    for line in (
        f"report       {out / 'report.html'}",
        f"table        {out / 'compare.csv'}",
        f"TensorBoard  tensorboard --logdir {out / 'tensorboard'}",
    ):
        console.print(line, soft_wrap=True, markup=False, highlight=False)
    if comparison.left_out:
        sys.exit(1)

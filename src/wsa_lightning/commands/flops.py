"""``flops``: what a teacher and its windowed student cost, at any duration, without running either."""

import json
import sys
from pathlib import Path
from typing import Literal

from rich.console import Console

from wsa_lightning import checkpoints, figures
from wsa_lightning.errors import UserError
from wsa_lightning.flops.costs import COST_DEFINITIONS, compare_costs, cost_figure, cost_table, full_attention
from wsa_lightning.models import Dilation, PatternOptions, Window
from wsa_lightning.models.config import PUBLISHED
from wsa_lightning.results import results_folder, to_csv

PAPERS_WINDOW, PAPERS_SINKS = 10, 8


def flops(
    *,
    size: Literal["kim", "viperx"] = "kim",
    checkpoint: str | None = None,
    config: Path | None = None,
    window: Window = None,
    sinks: int | None = None,
    dilation: Dilation | None = None,
    seconds: list[float] = [8.0, 60.0, 240.0],  # noqa: B006  (never changed; a list is what the option parser shows)
    overlap: int | None = None,
    out: Path | None = None,
) -> None:
    """Count the FLOPs of a teacher (full attention) and its windowed student, whatever their size.

    Args:
        size: a published architecture: kim (Mel-Band, 228 M parameters) or viperx (Band-Split, 160 M).
        checkpoint: a model file, or small or small-teacher; instead of size.
        config: the YAML beside a public checkpoint.
        window: the student's window in frames, or a list of one a layer; the checkpoint's own, else the paper's 10.
        sinks: the student's sinks; the checkpoint's own, else the paper's 8.
        dilation: frames from one key of the student's window to the next, or a list; the checkpoint's own, else 1.
        seconds: durations of the audio.
        overlap: blocks a sample lies in when a song is separated; the separation's own if not given.
        out: folder for flops.csv, flops.json, flops.png and flops.svg; only the table if not given.
    """
    if config is not None and checkpoint is None:
        raise UserError(f"--config {config} describes a checkpoint: pass --checkpoint FILE too")
    architecture = PUBLISHED[size] if checkpoint is None else checkpoints.load(checkpoint, config=config).config
    pattern: PatternOptions = (
        {} if architecture.window is not None else {"window": PAPERS_WINDOW, "sinks": PAPERS_SINKS}
    )
    if window is not None:
        pattern["window"] = window
    if sinks is not None:
        pattern["sinks"] = sinks
    if dilation is not None:
        pattern["dilation"] = dilation
    student = architecture.with_pattern(**pattern)
    teacher = full_attention(student)
    durations = sorted(set(seconds))
    console = Console()
    with console.status("counting"):
        costs = compare_costs(teacher, student, durations, overlap)
    name = f"size {size}" if checkpoint is None else checkpoint
    sizes = f"{student.family}, dim {student.dim}, depth {student.depth}, {student.bands} bands"
    console.print(f"{name}: {sizes}. FLOPs are 2 x multiply-accumulates; score pairs are per head, band and block.\n")
    for pair in costs:
        console.print(cost_table(*pair))
    if out is not None:
        rows = [cost.row() for pair in costs for cost in pair]
        figure = cost_figure(teacher, student, durations)
        summary = {
            "version": 1,
            "command": sys.argv,
            "definitions": COST_DEFINITIONS,
            "teacher": teacher.to_dict(),
            "student": student.to_dict(),
            "costs": rows,
        }
        with results_folder(out) as folder:
            (folder / "flops.csv").write_text(to_csv(rows), encoding="utf-8")
            (folder / "flops.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
            figures.save(figure, folder / "flops")
        console.print(f"wrote {out}/flops.csv, flops.json, flops.png, flops.svg", soft_wrap=True, markup=False)

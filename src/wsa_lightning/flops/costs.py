"""The cost of a teacher and its windowed student over the duration of the audio: table, figure, plain rows."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich import box
from rich.table import Table

from wsa_lightning import figures
from wsa_lightning.flops import FlopReport, closed_form, count
from wsa_lightning.models import Roformer, RoformerConfig, TimeAttention, describe_patterns
from wsa_lightning.separation import cost_factor


@dataclass(frozen=True)
class Cost:
    """One model at one duration.

    Attributes:
        name: ``teacher`` or ``student``.
        config: the architecture.
        report: FLOPs of one forward pass.
        factor: seconds that the model processes per second of a long song, separated in chunks of that duration.
    """

    name: str
    config: RoformerConfig
    report: FlopReport
    factor: float

    @property
    def per_second(self) -> float | None:
        """FLOPs of one forward pass per second of its audio; None if an operator was not counted."""
        total = self.report.known_total
        return None if total is None else total / self.report.seconds

    @property
    def per_second_of_song(self) -> float | None:
        """FLOPs per second of a long song, including the separation's overlap; None if an operator was not counted."""
        return None if self.per_second is None else self.per_second * self.factor

    def row(self) -> dict[str, Any]:
        """A row of ``flops.csv``; FLOPs, not GFLOPs."""
        report = self.report
        return {
            "model": self.name,
            "seconds": report.seconds,
            "frames": report.frames,
            **self.config.time_attention.to_dict(),
            "pairs_paper": report.paper_pairs,
            "pairs_exact": report.exact_pairs,
            "pairs_executed": report.executed_pairs,
            "time_attention_paper": report.time_attention_paper,
            "time_attention_exact": report.known_time_attention,
            "time_attention_executed": report.time_attention_executed,
            "frequency_attention": report.frequency_attention,
            "linear": report.linear,
            "total": report.known_total,
            "stft": report.stft,
            "total_per_second_of_audio": self.per_second,
            "separation_factor": self.factor,
            "total_per_second_of_song": self.per_second_of_song,
        }


COST_DEFINITIONS = {
    "flops": "2 x multiply-accumulates of matrix products; norms, softmax, rotary, activations and gates count 0",
    "pairs": "(query, key) pairs per head, band and block",
    "paper": "T (w + S) pairs, T^2 for full attention: the paper's convention",
    "exact": "pairs the mask allows: w + 1 keys per frame for an even w, fewer at the edges, and sinks see everything",
    "executed": "pairs the blocked backend computes: whole blocks are dense",
    "total": "linear + frequency attention + time attention over the exact pairs",
    "stft": "STFT and inverse, 2.5 n log2 n per real FFT of size n; not in the total",
    "per_second_of_audio": "total / seconds",
    "per_second_of_song": "the same x seconds that the model processes per second of a long song (overlap)",
}


def compare_costs(
    teacher: RoformerConfig, student: RoformerConfig, seconds: Sequence[float], overlap: int | None = None
) -> list[tuple[Cost, Cost]]:
    """Count the FLOPs of both with fvcore, on the meta device, at every duration.

    Returns:
        one (teacher, student) pair per duration.
    """
    with torch.device("meta"):
        models = {name: Roformer(config) for name, config in (("teacher", teacher), ("student", student))}

    def cost(name: str, duration: float) -> Cost:
        model = models[name]
        return Cost(name, model.config, count(model, duration), cost_factor(model.config, duration, overlap))

    return [(cost("teacher", duration), cost("student", duration)) for duration in seconds]


def cost_table(teacher: Cost, student: Cost) -> Table:
    """The counts at one duration."""
    ours, theirs = student.report, teacher.report
    title = f"{ours.seconds:g} s of audio, {ours.frames:,} frames"
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    table.add_column("score pairs")
    for column in (
        "teacher, full",
        f"student, w {describe_patterns(student.config)}, S {student.config.sinks}",
        "ratio",
    ):
        table.add_column(column, justify="right", no_wrap=True)

    def pairs(label: str, name: str) -> None:
        full, windowed = getattr(theirs, name), getattr(ours, name)
        table.add_row(label, f"{full:,}", f"{windowed:,}", f"{full / windowed:.1f}")

    def giga(label: str, full: float | None, windowed: float | None, digits: int = 2) -> None:
        ratio = f"{full / windowed:.{digits}f}" if full is not None and windowed else "n/a"
        table.add_row(label, _giga(full), _giga(windowed), ratio)

    pairs("the paper's T (w + S)", "paper_pairs")
    pairs("allowed by the mask", "exact_pairs")
    pairs("executed by `blocked`", "executed_pairs")
    table.add_section()
    table.add_row("[bold]GFLOP[/]")
    giga("time attention, paper's pairs", theirs.time_attention_paper, ours.time_attention_paper, 1)
    giga("time attention, mask's pairs", theirs.known_time_attention, ours.known_time_attention, 1)
    giga("time attention, executed", theirs.time_attention_executed, ours.time_attention_executed, 1)
    giga("frequency attention", theirs.frequency_attention, ours.frequency_attention)
    giga("linear layers", theirs.linear, ours.linear)
    giga("total, mask's pairs", theirs.known_total, ours.known_total)
    giga("STFT, inverse: not in total", theirs.stft, ours.stft)
    table.add_section()
    table.add_row("[bold]GFLOP per second of audio[/]")
    giga("total", teacher.per_second, student.per_second)
    overlaps = " and ".join(dict.fromkeys(f"{cost.factor:.3g}" for cost in (teacher, student)))
    giga(f"long song, overlap {overlaps}", teacher.per_second_of_song, student.per_second_of_song)
    return table


def _giga(flops: float | None) -> str:
    if flops is None:
        return "n/a"
    return f"{flops / 1e9:,.1f}" if flops >= 1e12 else f"{flops / 1e9:.3f}"


def cost_figure(teacher: RoformerConfig, student: RoformerConfig, marks: Sequence[float]) -> Figure:
    """Time attention and the whole model over duration: FLOPs of one pass, and the total per second of audio.

    The ratio teacher / student of the whole model is written at the durations ``marks``.
    """
    durations = np.geomspace(1.0, max(*marks, 2.0), 60).tolist()
    with figures.style():
        figure = Figure(figsize=(10, 4.2), layout="constrained")
        left, right = figure.subplots(1, 2)
        windowed = f"student, w {describe_patterns(student)}, S {student.sinks}"
        models = ((teacher, "teacher, full attention"), (student, windowed))
        for color, (config, label) in zip(figures.PALETTE, models, strict=False):
            reports = [closed_form(config, duration) for duration in durations]
            totals = [report.total for report in reports]
            left.loglog(durations, np.array(totals) / 1e12, color=color, label=f"{label}: whole model")
            attention = [report.time_attention / 1e12 for report in reports]
            left.loglog(durations, attention, color=color, linestyle="--", label=f"{label}: time attention")
            right.plot(durations, np.array(totals) / durations / 1e9, color=color, label=label)
        _mark_ratios(right, teacher, student, marks)
        left.set(title="(a) FLOPs of one forward pass", ylabel="TFLOP")
        right.set(title="(b) whole model, per second of audio", ylabel="GFLOP per second of audio")
        for axes, ticks in ((left, sorted({1.0, *marks})), (right, sorted(marks))):
            axes.set_xlabel("duration, s")
            axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        left.minorticks_off()
        left.yaxis.set_major_formatter("{x:g}")
        right.yaxis.set_major_formatter("{x:,.0f}")
        right.set_ylim(bottom=0)
        left.legend(fontsize=8.5)
        right.legend(fontsize=8.5, loc="upper left")
    return figure


def _mark_ratios(axes: Axes, teacher: RoformerConfig, student: RoformerConfig, marks: Sequence[float]) -> None:
    """Draw a line from the student's to the teacher's total at every mark, with their ratio below it."""
    for place, duration in enumerate(marks):
        full, windowed = (closed_form(config, duration).total / duration / 1e9 for config in (teacher, student))
        label = None if place else "teacher / student"
        axes.plot([duration] * 2, [windowed, full], "o-", color="#888888", lw=0.9, ms=3.5, zorder=3, label=label)
        axes.annotate(
            f"{full / windowed:.2f}\N{MULTIPLICATION SIGN}",
            (duration, min(full, windowed)),
            xytext=(0, -6),
            textcoords="offset points",
            ha="center",
            va="top",
            fontsize=8.5,
            bbox={"facecolor": axes.get_facecolor(), "edgecolor": "none", "pad": 1.0},
        )


def full_attention(config: RoformerConfig) -> RoformerConfig:
    """The teacher of a student: the same architecture, time attention full, no sinks."""
    return replace(config, **vars(TimeAttention()))

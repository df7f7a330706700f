"""Validation uSDR over training steps, from TensorBoard's event files."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from tensorboard.backend.event_processing.event_accumulator import SCALARS, EventAccumulator

from wsa_lightning import figures

TAG = "val/usdr"
Curve = tuple[tuple[int, float], ...]


def read_curve(folder: Path) -> Curve:
    """(step, ``val/usdr``) of every validation in the event files of ``folder``; empty if there are none."""
    if not any(folder.glob("events.out.tfevents.*")):
        return ()
    # The same files hold audio and spectrograms, which are not kept in memory.
    events = EventAccumulator(str(folder), size_guidance={"audio": 1, "images": 1, "tensors": 1, SCALARS: 0})
    events.Reload()
    if TAG not in events.Tags()[SCALARS]:
        return ()
    return tuple((event.step, event.value) for event in events.Scalars(TAG))


def curves_figure(curves: Sequence[tuple[str, Curve]]) -> Figure:
    """One line per run."""
    with figures.style():
        figure = Figure(figsize=(8, 3.6), layout="constrained")
        axes = figure.subplots()
        for name, curve in curves:
            axes.plot(*zip(*curve, strict=True), marker="o", markersize=3.5, label=name)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set(xlabel="training step", ylabel="validation uSDR, dB")
        axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure

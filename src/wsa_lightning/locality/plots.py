"""Figures of where attention looks: the curves of every head, and the paper's figure 2."""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import LogLocator
from torch import Tensor

from wsa_lightning import figures
from wsa_lightning.locality.measure import HeadStatistics

ZOOM = 30
"""Side of a zoom-in, as in the paper; maps smaller than three times that get none."""
UNITS = {"time": "frames", "frequency": "bands"}


def locality_curves(statistics: Sequence[HeadStatistics], *, shares: Sequence[float] = ()) -> Figure:
    """Share of the attention within +-k positions: one panel per attention, time above, frequency below.

    Thin lines are heads, the thick line is their mean, the dashed line is uniform attention, and dotted lines are
    ``shares``.
    """
    figure, panels = _grid(statistics, height=2.6)
    head, mean, even = figures.PALETTE[5], figures.PALETTE[0], figures.PALETTE[1]
    for panel, entry in _placed(panels, statistics):
        positions = entry.within.shape[1]
        reach = np.arange(positions)
        lines = panel.plot(reach, entry.within.T.numpy(), color=head, linewidth=0.9)
        lines[0].set_label("a head")
        panel.plot(reach, entry.within.mean(0).numpy(), color=mean, linewidth=2, label="mean of the heads")
        held = entry.even.numpy() * float(entry.within[:, -1].mean())
        panel.plot(reach, held, color=even, linestyle="--", linewidth=1.4, label="even attention")
        for share in shares:
            panel.axhline(share, color="gray", linewidth=0.8, linestyle=":")
        panel.set_xscale("symlog", linthresh=1, base=10)
        panel.set(xlim=(0, max(1, positions - 1)), ylim=(0, 1.02), xlabel=f"k, {UNITS[entry.axis]}")
        panel.xaxis.set_major_formatter("{x:g}")
    for row in panels:
        row[0].set_ylabel("share within ±k")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), fontsize="small", loc="outside upper center", ncols=3)
    return figure


def attention_maps(statistics: Sequence[HeadStatistics]) -> Figure:
    """The paper's figure 2: the mean map of every attention with a zoom-in, time above, frequency below.

    Colours are weights as multiples of uniform attention, on a logarithmic scale per row.
    """
    figure, panels = _grid(statistics, height=2.9)
    placed = _placed(panels, statistics)
    for row, axis in zip(panels, UNITS, strict=True):
        maps = [(panel, entry.map) for panel, entry in placed if entry.axis == axis]
        norm = _colours([weights for _, weights in maps])
        for panel, weights in maps:
            image = _draw_map(panel, weights, norm)
            if len(weights) >= 3 * ZOOM:
                _zoom_in(panel, weights, norm)
            panel.set(xlabel=f"key, {UNITS[axis]}")
        row[0].set_ylabel(f"query, {UNITS[axis]}")
        bar = figure.colorbar(
            image, ax=[panel for panel, _ in maps], pad=0.01, shrink=0.75, extend="both",
            ticks=LogLocator(subs=(1, 2, 5)), format="{x:g}",
        )  # fmt: skip
        bar.minorticks_off()
        bar.set_label("weight, times even", fontsize="small")
        bar.outline.set_visible(False)
    return figure


def _colours(maps: Sequence[Tensor]) -> LogNorm:
    """A scale for all but the extremes; pairs outside the window have weight 0 and are black."""
    values = torch.cat([weights[weights > 0] for weights in maps]).numpy()
    top = max(float(np.quantile(values, 0.999)), 2.0)
    return LogNorm(min(max(float(np.quantile(values, 0.01)), 0.01), 0.5), top)


def _draw_map(panel: Axes, weights: Tensor, norm: LogNorm, first: int = 0) -> AxesImage:
    """Draw one map (queries, keys) whose first query and key is ``first``."""
    extent = (first - 0.5, first + weights.shape[1] - 0.5, first + weights.shape[0] - 0.5, first - 0.5)
    panel.grid(visible=False)
    shown = weights.clamp_min(norm.vmin or 0).numpy()
    return panel.imshow(shown, norm=norm, cmap="magma", extent=extent, aspect="equal")


def _zoom_in(panel: Axes, weights: Tensor, norm: LogNorm) -> None:
    """Draw the middle of the diagonal in the upper right corner, and mark its place in the map."""
    start = (len(weights) - ZOOM) // 2
    inset = panel.inset_axes((0.55, 0.55, 0.43, 0.43))
    _draw_map(inset, weights[start : start + ZOOM, start : start + ZOOM], norm, first=start)
    inset.set(xticks=[], yticks=[])
    for spine in inset.spines.values():
        spine.set(visible=True, color="white", linewidth=1.2)
    panel.indicate_inset_zoom(inset, edgecolor="white", alpha=0.9)


def head_overview(statistics: Sequence[HeadStatistics], *, reach: int = 8) -> Figure:
    """One cell per head: share within +-``reach``, on the first 8 positions, on the sinks; number of positions seen."""
    statistics = sorted(statistics, key=lambda entry: (entry.axis != "time", entry.layer, entry.block))
    near = [entry.within[:, min(reach, entry.within.shape[1] - 1)] for entry in statistics]
    first = [entry.first[:, min(7, entry.first.shape[1] - 1)] for entry in statistics]
    looked_at = [entry.entropy.exp() for entry in statistics]
    sinks = [entry.sinks for entry in statistics]
    cells = [
        (f"share within ±{reach}", near, "{:.2f}"),
        ("share on the first 8", first, "{:.2f}"),
        ("share on the sinks", sinks, "{:.2f}"),
        ("positions looked at, exp(entropy)", looked_at, "{:.0f}"),
    ]
    if not any(bool(share.any()) for share in sinks):
        del cells[2]
    figure = Figure(figsize=(3.4 * len(cells), 0.9 + 0.32 * len(statistics)), layout="constrained")
    panels = figure.subplots(1, len(cells), sharey=True)
    for panel, (title, rows, form) in zip(panels, cells, strict=True):
        values = torch.stack(rows).numpy()  # (attentions, heads)
        panel.grid(visible=False)
        panel.imshow(values, cmap="Blues", aspect="auto", vmin=0)
        panel.axhline(sum(entry.axis == "time" for entry in statistics) - 0.5, color="white", linewidth=4)
        for row, column in np.ndindex(values.shape):
            dark = values[row, column] > 0.6 * values.max()
            panel.text(
                column, row, form.format(values[row, column]), ha="center", va="center", fontsize="x-small",
                color="white" if dark else "black",
            )  # fmt: skip
        panel.set_title(title, fontsize="small")
        panel.set(xlabel="head", xticks=range(values.shape[1]))
    panels[0].set_yticks(range(len(statistics)), [name_of(entry) for entry in statistics])
    return figure


def name_of(entry: HeadStatistics) -> str:
    """The name of an attention in figures and tables: ``layer 0 time``."""
    return f"layer {entry.layer} {entry.axis}" + (f" {entry.block}" if entry.block else "")


def _grid(statistics: Sequence[HeadStatistics], height: float) -> tuple[Figure, "np.ndarray"]:
    columns = max(sum(entry.axis == axis for entry in statistics) for axis in UNITS)
    figure = Figure(figsize=(max(6.0, 2.7 * columns), 2 * height), layout="constrained")
    return figure, figure.subplots(2, columns, squeeze=False)


def _placed(panels: "np.ndarray", statistics: Sequence[HeadStatistics]) -> list[tuple[Axes, HeadStatistics]]:
    """Pair panels with statistics and title them; empty panels are removed."""
    placed = []
    for row, axis in zip(panels, UNITS, strict=True):
        entries = [entry for entry in statistics if entry.axis == axis]
        for panel, entry in zip(row, entries, strict=False):
            panel.set_title(name_of(entry), fontsize="small")
            placed.append((panel, entry))
        for panel in row[len(entries) :]:
            panel.remove()
    return placed

"""Pictures of where attention looks: the curves of every head, and the paper's figure 2."""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from torch import Tensor

from wsa_lightning.locality.measure import HeadStatistics

ZOOM = 30
"""Side of a zoom-in, as in the paper."""
UNITS = {"time": "frames", "frequency": "bands"}


def locality_curves(statistics: Sequence[HeadStatistics], *, shares: Sequence[float] = ()) -> Figure:
    """Share of the attention within +-k positions: a panel an attention, time above, frequency below.

    A thin line a head, a thick one their mean, dashed what even attention would hold.
    """
    figure, panels = _grid(statistics, height=2.6)
    for panel, entry in _placed(panels, statistics):
        positions = entry.within.shape[1]
        reach = np.arange(positions)
        panel.plot(reach, entry.within.T.numpy(), color="tab:blue", alpha=0.35, linewidth=0.8)
        panel.plot(reach, entry.within.mean(0).numpy(), color="tab:blue", linewidth=2, label="mean of the heads")
        panel.plot(
            reach, even_attention(positions, float(entry.within[:, -1].mean())), "k--", linewidth=0.8, label="even"
        )
        for share in shares:
            panel.axhline(share, color="gray", linewidth=0.5, linestyle=":")
        panel.set_xscale("symlog", linthresh=1, base=10)
        panel.set(xlim=(0, max(1, positions - 1)), ylim=(0, 1.02), xlabel=f"k, {UNITS[entry.axis]}")
    for row in panels:
        row[0].set_ylabel("share within ±k")
    panels[0, 0].legend(fontsize="x-small", loc="upper left")
    return figure


def even_attention(positions: int, total: float) -> np.ndarray:
    """Share within +-k of a query that looks at all positions alike, averaged over the queries: (positions,)."""
    reach = np.arange(positions)
    pairs = positions * (2 * reach + 1) - reach * (reach + 1)
    return total * pairs / positions**2


def attention_maps(statistics: Sequence[HeadStatistics]) -> Figure:
    """The paper's figure 2: the mean map of every attention with a zoom-in, time above, frequency below."""
    figure, panels = _grid(statistics, height=3.0)
    for panel, entry in _placed(panels, statistics):
        _draw_map(panel, entry.map)
        if entry.axis == "time" and len(entry.map) > 2 * ZOOM:
            start = len(entry.map) // 2
            inset = panel.inset_axes((0.56, 0.56, 0.42, 0.42))
            _draw_map(inset, entry.map[start : start + ZOOM, start : start + ZOOM], first=start)
            inset.set(xticks=[], yticks=[])
            for spine in inset.spines.values():
                spine.set_color("white")
        panel.set(xlabel=f"key, {UNITS[entry.axis]}")
    for row, axis in zip(panels, UNITS, strict=False):
        row[0].set_ylabel(f"query, {UNITS[axis]}")
    return figure


def _draw_map(panel: Axes, weights: Tensor, first: int = 0) -> None:
    """One map (queries, keys); its colours are logarithmic, attention spans orders of magnitude, and leave out 1 %."""
    top = float(weights.max().clamp_min(1e-12))
    floor = max(1e-4 * top, float(np.quantile(weights.numpy(), 0.01)))
    extent = (first - 0.5, first + weights.shape[1] - 0.5, first + weights.shape[0] - 0.5, first - 0.5)
    norm = LogNorm(min(floor, 0.999 * top), top)
    panel.imshow(weights.clamp_min(floor).numpy(), norm=norm, cmap="magma", extent=extent, aspect="equal")


def head_overview(statistics: Sequence[HeadStatistics], *, reach: int = 8) -> Figure:
    """Every head as a cell: share within +-``reach``, share on the first 8 positions, positions really looked at."""
    figure = Figure(figsize=(10, 0.9 + 0.35 * len(statistics)), layout="constrained")
    panels = figure.subplots(1, 3, sharey=True)
    near = [entry.within[:, min(reach, entry.within.shape[1] - 1)] for entry in statistics]
    first = [entry.first[:, min(7, entry.first.shape[1] - 1)] for entry in statistics]
    looked_at = [entry.entropy.exp() for entry in statistics]
    cells = (
        (f"share within ±{reach}", near, "{:.2f}"),
        ("share on the first 8", first, "{:.2f}"),
        ("positions looked at, exp(entropy)", looked_at, "{:.0f}"),
    )
    for panel, (title, rows, form) in zip(panels, cells, strict=True):
        values = torch.stack(rows).numpy()  # (attentions, heads)
        panel.imshow(values, cmap="Blues", aspect="auto", vmin=0)
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
    """How an attention is called in figures and tables: ``layer 0 time``."""
    return f"layer {entry.layer} {entry.axis}" + (f" {entry.block}" if entry.block else "")


def _grid(statistics: Sequence[HeadStatistics], height: float) -> tuple[Figure, "np.ndarray"]:
    columns = max(sum(entry.axis == axis for entry in statistics) for axis in UNITS)
    figure = Figure(figsize=(max(6.0, 2.7 * columns), 2 * height), layout="constrained")
    return figure, figure.subplots(2, columns, squeeze=False)


def _placed(panels: "np.ndarray", statistics: Sequence[HeadStatistics]) -> list[tuple[Axes, HeadStatistics]]:
    """Panels with what belongs into them, titled; panels that stay empty are taken away."""
    placed = []
    for row, axis in zip(panels, UNITS, strict=True):
        entries = [entry for entry in statistics if entry.axis == axis]
        for panel, entry in zip(row, entries, strict=False):
            panel.set_title(name_of(entry), fontsize="small")
            placed.append((panel, entry))
        for panel in row[len(entries) :]:
            panel.remove()
    return placed

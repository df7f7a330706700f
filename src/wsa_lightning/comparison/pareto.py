"""uSDR over FLOPs: the models on the Pareto front, and the figure."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from wsa_lightning import figures
from wsa_lightning.comparison.runs import Model

MOST_LABELS = 14
PLACES = (
    (0, 9, "center", "bottom"), (-9, 0, "right", "center"), (0, -9, "center", "top"), (9, 0, "left", "center"),
    (-7, 7, "right", "bottom"), (7, -7, "left", "top"),
)  # fmt: skip
"""Positions of a name beside its point, in points: above and left first, where a rising front leaves room."""


def pareto_front(costs: Sequence[float], scores: Sequence[float]) -> list[bool]:
    """Which points no other dominates: none costs as little, scores as high, and is better in one of the two."""
    points = list(zip(costs, scores, strict=True))
    return [
        not any(other != point and other[0] <= point[0] and other[1] >= point[1] for other in points)
        for point in points
    ]


class Panel(NamedTuple):
    """One chart: comparable models, which of them are on the front, and a title."""

    models: Sequence[Model]
    front: Sequence[bool]
    title: str


def pareto_figure(*panels: Panel, dark: bool = False) -> Figure:
    """uSDR over GFLOP per second of audio, one point per model, the front joined by a line; one panel below another."""
    with figures.style(dark):
        figure = Figure(figsize=(8, 4.6 * len(panels)), layout="constrained")
        charts = figure.subplots(len(panels), squeeze=False)[:, 0]
        for axes, panel in zip(charts, panels, strict=True):
            _draw(axes, panel)
        figure.draw_without_rendering()  # names are placed in the final layout
        for axes, panel in zip(charts, panels, strict=True):
            _label(axes, panel)
    return figure


def _draw(axes: Axes, panel: Panel) -> None:
    points = [(_gflops(model), model.usdr, model.is_teacher, on) for model, on in zip(*panel[:2], strict=True)]
    costs = [cost for cost, *_ in points]
    if max(costs) > 10 * min(costs):
        axes.set_xscale("log")
    best = sorted((cost, usdr) for cost, usdr, _, on in points if on)
    # Between two points of the front, no model does better than the cheaper one.
    axes.step(*zip(*best, strict=True), where="post", color="#888888", linewidth=1.2, zorder=1, label="Pareto front")
    kinds = (
        ("teacher", True, "D", figures.PALETTE[0]),
        ("student or model (filled: on the front)", False, "o", figures.PALETTE[1]),
    )
    for label, is_teacher, marker, color in kinds:
        kind = [point for point in points if point[2] == is_teacher]
        if kind:
            axes.scatter(
                [cost for cost, *_ in kind],
                [usdr for _, usdr, *_ in kind],
                marker=marker,
                s=46,
                facecolors=[color if on else "none" for *_, on in kind],
                edgecolors=color,
                linewidths=1.4,
                zorder=2,
                label=label,
            )
    axes.margins(x=0.16, y=0.16)
    axes.set(title=panel.title, xlabel="GFLOP per second of audio", ylabel="uSDR, dB")
    axes.legend(fontsize=8.5, loc="best")


def _gflops(model: Model) -> float:
    return model.flops_per_second / 1e9


def _label(axes: Axes, panel: Panel) -> None:
    """Write names beside the points, each at the first free position; of many points, only those on the front."""
    taken = _ink(axes, panel)
    if legend := axes.get_legend():
        taken.append(legend.get_window_extent())
    for model, on in zip(panel.models, panel.front, strict=True):
        if not on and len(panel.models) > MOST_LABELS:
            continue
        texts = [_name(axes, model, *place) for place in PLACES]
        boxes = [text.get_window_extent() for text in texts]
        free = (n for n, box in enumerate(boxes) if not any(box.overlaps(other) for other in taken))
        chosen = next(free, len(PLACES) - 1)
        taken.append(boxes[chosen])
        for place, text in enumerate(texts):
            if place != chosen:
                text.remove()


def _name(axes: Axes, model: Model, x: float, y: float, horizontal: str, vertical: str) -> Annotation:
    return axes.annotate(
        model.name,
        (_gflops(model), model.usdr),
        xytext=(x, y),
        textcoords="offset points",
        ha=horizontal,
        va=vertical,
        fontsize=8.5,
    )


def _ink(axes: Axes, panel: Panel) -> list[Bbox]:
    """The areas covered by points and front, in pixels."""
    pixels = axes.transData.transform([(_gflops(model), model.usdr) for model in panel.models])
    points = [Bbox.from_bounds(x - 6, y - 6, 12, 12) for x, y in pixels]
    front = sorted({(x, y) for (x, y), on in zip(pixels.tolist(), panel.front, strict=True) if on})
    steps = []
    for (x, y), (next_x, next_y) in itertools.pairwise(front):
        steps += [Bbox([[x, y - 1], [next_x, y + 1]]), Bbox([[next_x - 1, y], [next_x + 1, next_y]])]
    return points + steps

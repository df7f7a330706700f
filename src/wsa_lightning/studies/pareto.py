"""SDR against FLOPs: which models no other beats in both, and the figure."""

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from wsa_lightning import figures
from wsa_lightning.studies.runs import Model

MOST_LABELS = 14


def pareto_front(costs: Sequence[float], scores: Sequence[float]) -> list[bool]:
    """Which points no other dominates: none costs as little and scores as high, and is better in one of the two."""
    points = list(zip(costs, scores, strict=True))
    return [
        not any(other != point and other[0] <= point[0] and other[1] >= point[1] for other in points)
        for point in points
    ]


class Panel(NamedTuple):
    """One chart: models that may be compared, which of them are on the front, a title."""

    models: Sequence[Model]
    front: Sequence[bool]
    title: str


def pareto_figure(*panels: Panel, dark: bool = False) -> Figure:
    """uSDR over GFLOPs per second of audio, one point a model, the front joined by a line; panels below each other."""
    with figures.style(dark):
        figure = Figure(figsize=(8, 4.6 * len(panels)), layout="constrained")
        charts = figure.subplots(len(panels), squeeze=False)[:, 0]
        for axes, panel in zip(charts, panels, strict=True):
            _draw(axes, panel)
        figure.draw_without_rendering()  # the layout must stand before names are placed
        for axes, panel in zip(charts, panels, strict=True):
            _label(axes, panel)
    return figure


def _draw(axes: Axes, panel: Panel) -> None:
    points = [(_gflops(model), model.usdr, model.is_teacher, on) for model, on in zip(*panel[:2], strict=True)]
    costs = [cost for cost, *_ in points]
    if max(costs) > 10 * min(costs):
        axes.set_xscale("log")
    best = sorted((cost, usdr) for cost, usdr, _, on in points if on)
    # From one point of the front to the next nothing is gained until the next is paid for.
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
    axes.legend(fontsize=8, loc="upper right", bbox_to_anchor=(1, -0.1), ncols=3)  # below, where it hides no point


def _gflops(model: Model) -> float:
    return model.flops_per_second / 1e9


def _label(axes: Axes, panel: Panel) -> None:
    """Names beside the points, each at the first place that is free; of many points, those of the front alone."""
    above, below = (0, 9, "center", "bottom"), (0, -9, "center", "top")
    places = (above, below, (9, 0, "left", "center"), (-9, 0, "right", "center"))
    points = axes.transData.transform([(_gflops(model), model.usdr) for model in panel.models])
    taken = [Bbox.from_bounds(x - 6, y - 6, 12, 12) for x, y in points]
    for model, on in zip(panel.models, panel.front, strict=True):
        if not on and len(panel.models) > MOST_LABELS:
            continue
        for place in places:
            x, y, horizontal, vertical = place
            text = axes.annotate(
                model.name,
                (_gflops(model), model.usdr),
                xytext=(x, y),
                textcoords="offset points",
                ha=horizontal,
                va=vertical,
                fontsize=8.5,
            )
            box = text.get_window_extent()
            if place == places[-1] or not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
            text.remove()

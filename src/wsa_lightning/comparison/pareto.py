"""The figure of uSDR over FLOPs."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from wsa_lightning import figures
from wsa_lightning.comparison.groups import Group

MOST_LABELS = 14
PLACES = (
    (0, 9, "center", "bottom"), (-9, 0, "right", "center"), (0, -9, "center", "top"), (9, 0, "left", "center"),
    (-7, 7, "right", "bottom"), (7, -7, "left", "top"),
)  # fmt: skip
"""Positions of a name beside its point, in points: above and left first, where a rising front leaves room."""


def pareto_figure(*groups: Group) -> Figure:
    """uSDR over GFLOP per second of audio, one point per model, the front joined by a line; one panel per group.

    Models of unknown cost are left out.
    """
    with figures.style():
        figure = Figure(figsize=(8, 4.6 * len(groups)), layout="constrained")
        charts = figure.subplots(len(groups), squeeze=False)[:, 0]
        for axes, group in zip(charts, groups, strict=True):
            _draw(axes, group)
        figure.draw_without_rendering()  # names are placed in the final layout
        for axes, group in zip(charts, groups, strict=True):
            _label(axes, group)
    return figure


def _points(group: Group) -> list[tuple[float, float, str, bool, bool]]:
    """GFLOP, uSDR, name, whether it is a teacher, whether it is on the front."""
    return [
        (model.flops_per_second / 1e9, model.usdr, model.name, model.is_teacher, on)
        for model, on in zip(group.models, group.front, strict=True)
        if model.flops_per_second is not None
    ]


def _draw(axes: Axes, group: Group) -> None:
    points = _points(group)
    costs = [cost for cost, *_ in points]
    if costs and max(costs) > 10 * min(costs):
        axes.set_xscale("log")
    best = sorted((cost, usdr) for cost, usdr, *_, on in points if on)
    # Between two points of the front, no model does better than the cheaper one.
    axes.step(
        [cost for cost, _ in best],
        [usdr for _, usdr in best],
        where="post",
        color="#888888",
        linewidth=1.2,
        zorder=1,
        label="Pareto front",
    )
    for label, is_teacher, marker, color in (
        ("teacher", True, "D", figures.PALETTE[0]),
        ("student or model (filled: on the front)", False, "o", figures.PALETTE[1]),
    ):
        kind = [point for point in points if point[3] == is_teacher]
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
    axes.set(title=f"{group.letter}: {group.title}", xlabel="GFLOP per second of audio", ylabel="uSDR, dB")
    axes.legend(fontsize=8.5, loc="best")


def _label(axes: Axes, group: Group) -> None:
    """Write names beside the points, each at the first free position; of many points, only those on the front."""
    points = _points(group)
    pixels = [axes.transData.transform(point[:2]) for point in points]
    taken = [Bbox.from_bounds(x - 6, y - 6, 12, 12) for x, y in pixels]
    if legend := axes.get_legend():
        taken.append(legend.get_window_extent())
    for cost, usdr, name, _, on in points:
        if not on and len(points) > MOST_LABELS:
            continue
        for place in PLACES:
            x, y, horizontal, vertical = place
            text = axes.annotate(
                name, (cost, usdr), (x, y), textcoords="offset points", ha=horizontal, va=vertical, fontsize=8.5
            )
            box = text.get_window_extent()
            if place == PLACES[-1] or not any(box.overlaps(other) for other in taken):
                break
            text.remove()
        taken.append(box)

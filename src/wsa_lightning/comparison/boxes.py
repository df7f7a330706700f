"""The paper's table and figure 3: scores over songs, of teachers and of students before and after training."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from wsa_lightning import figures
from wsa_lightning.comparison.columns import LABELS, Columns
from wsa_lightning.comparison.groups import Group
from wsa_lightning.comparison.runs import Model
from wsa_lightning.results import decimals

METRICS = ("usdr", "csdr", "bleedless", "fullness")
QUANTILES = {"minimum": 0.0, "lower quartile": 0.25, "median": 0.5, "upper quartile": 0.75, "maximum": 1.0}
KINDS = {
    "teacher": ("teacher", figures.PALETTE[0], 0.55),
    "before": ("student before fine-tuning", figures.PALETTE[1], 0.12),
    "after": ("student or model, trained", figures.PALETTE[1], 0.55),
}
"""Name, colour and opacity of a box."""


def box_order(models: Sequence[Model]) -> list[Model]:
    """Models with a score per song: teachers, then students, best first, each untrained one next to its trained one."""
    scored = [model for model in models if model.per_song]
    place = {m.pattern: -number for number, m in enumerate(reversed(scored)) if not m.is_teacher}
    return sorted(scored, key=lambda m: (not m.is_teacher, place.get(m.pattern, 0), m.is_trained))


def kind(model: Model) -> str:
    """``teacher``, ``before`` or ``after``."""
    return "teacher" if model.is_teacher else "after" if model.is_trained else "before"


def distributions(group: Group) -> Columns:
    """Quantiles and mean over songs, one row per model and metric."""
    rows = [
        (model, metric, values)
        for model in box_order(group.models)
        for metric in METRICS
        if (values := list(model.per_song.get(metric, {}).values()))
    ]
    return {
        "run": [model.name for model, *_ in rows],
        "kind": [KINDS[kind(model)][0] for model, *_ in rows],
        "metric": [LABELS[metric] for _, metric, _ in rows],
        "songs": [str(len(values)) for *_, values in rows],
        **{name: [decimals(float(np.quantile(values, q))) for *_, values in rows] for name, q in QUANTILES.items()},
        "mean": [decimals(float(np.mean(values))) for *_, values in rows],
    }


def boxes_figure(group: Group) -> Figure | None:
    """One panel per metric, one box per model, one dot per song; None if no model has a score per song."""
    models = box_order(group.models)
    metrics = [metric for metric in METRICS if any(model.per_song.get(metric) for model in models)]
    if not metrics:
        return None
    with figures.style():
        figure = Figure(figsize=(1.5 + 2.6 * len(metrics), 1.3 + 0.42 * len(models)), layout="constrained")
        panels = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
        for panel, metric in zip(panels, metrics, strict=True):
            _draw(panel, models, metric)
            unit = group.protocol.definitions[metric].get("unit")
            panel.set(xlabel=LABELS[metric] + (f", {unit}" if unit else ""))
        panels[0].set_yticks(range(1, len(models) + 1), [model.name for model in models])
        panels[0].invert_yaxis()
        present = [name for name in KINDS if name in map(kind, models)]
        handles = [
            Patch(label=label, **_ink(color, alpha)) for label, color, alpha in (KINDS[name] for name in present)
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=8)
    return figure


def _draw(panel: Axes, models: Sequence[Model], metric: str) -> None:
    for place, model in enumerate(models, 1):
        values = list(model.per_song.get(metric, {}).values())
        if not values:
            continue
        _, color, alpha = KINDS[kind(model)]
        ink = {"color": color, "linewidth": 1.2}
        panel.boxplot(
            values,
            positions=[place],
            orientation="horizontal",
            widths=0.62,
            patch_artist=True,
            showfliers=False,  # every song is drawn as a dot
            manage_ticks=False,
            boxprops=_ink(color, alpha),
            whiskerprops=ink,
            capprops=ink,
            medianprops={"color": color, "linewidth": 2.4},
        )
        panel.plot(values, [place] * len(values), ".", color=color, markersize=4, alpha=0.7)
    panel.grid(visible=False, axis="y")


def _ink(color: str, alpha: float) -> dict[str, Any]:
    return {"facecolor": (color, alpha), "edgecolor": color}

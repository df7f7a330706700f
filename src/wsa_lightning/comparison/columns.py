"""The table of a group, as the terminal and the report show it."""

from wsa_lightning.comparison.groups import Group
from wsa_lightning.comparison.runs import Model, Score
from wsa_lightning.results import decimals, percent

LABELS = {
    "usdr": "uSDR", "usdr_active": "uSDR, vocals sounding", "csdr": "cSDR", "si_sdr": "SI-SDR", "l1_freq": "L1-freq",
    "bleedless": "bleedless", "fullness": "fullness", "leakage": "leakage",
}  # fmt: skip
NO_SCORE = Score(None, None)

Columns = dict[str, list[str]]
"""Cells by heading, one per model."""


def pattern_and_usdr(group: Group) -> Columns:
    """The columns that describe a model and its uSDR."""
    return {
        "window": [str(model.pattern) for model in group.models],
        "sinks": [str(model.pattern.sinks) for model in group.models],
        "uSDR": [decimals(model.scores["usdr"].median) for model in group.models],
        "mean": [decimals(model.scores["usdr"].mean) for model in group.models],
        "to teacher (95 %)": [_interval(model) for model in group.models],
        "retained": [percent(model.retained) for model in group.models],
    }


def metrics_and_cost(group: Group, metrics: tuple[str, ...]) -> Columns:
    """The medians of those metrics that at least one model has, and the cost."""
    scored = {metric for model in group.models for metric in model.scores}
    return {
        **{
            LABELS[metric]: [decimals(model.scores.get(metric, NO_SCORE).median) for model in group.models]
            for metric in metrics
            if metric in scored
        },
        "GFLOP/s audio": [
            "n/a" if model.flops_per_second is None else decimals(model.flops_per_second / 1e9, 3)
            for model in group.models
        ],
        "time att.": ["" if model.reduction is None else f"1 / {model.reduction:.1f}" for model in group.models],
    }


def _interval(model: Model) -> str:
    """Mean difference to the teacher, and its interval."""
    if model.difference is None:
        return ""
    low, high = model.difference.low, model.difference.high
    around = "" if low is None or high is None else f" [{low:+.2f}, {high:+.2f}]"
    return f"{model.difference.mean:+.2f}{around}"

"""A run that was only trained: the scores of its last validation, over chunks."""

import json
from pathlib import Path
from typing import Any

import yaml

from wsa_lightning.comparison.runs import FinishedRun, Interval, Model, Protocol, Score
from wsa_lightning.models import TimeAttention
from wsa_lightning.sweeps.identity import flat

VALIDATION = {
    "unit": "dB",
    "better": "higher",
    "text": "10 log10(sum s^2 / sum (s - e)^2), energies summed over all validation chunks of a song",
    "aggregation": "median over songs, mean over stems (val/usdr)",
}


def read_fitted(name: str, folder: Path) -> FinishedRun:
    """Read ``summary.json`` and ``config.yaml`` in ``folder``; ``read_run`` catches what a broken file raises."""
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    options = flat(yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8")))
    seconds = options["flops.seconds"]

    def model(usdr: float, mean: float | None, flops: float | None, **values: Any) -> Model:
        cost = None if flops is None else flops / seconds
        return Model(scores={"usdr": Score(float(usdr), mean)}, flops_per_second=cost, **values)

    teacher = None
    if summary.get("val/teacher_usdr") is not None:
        teacher = model(
            summary["val/teacher_usdr"], None, summary.get("flops/teacher_total"),
            name="teacher", is_teacher=True, pattern=TimeAttention(), identity=str(summary["teacher"]),
        )  # fmt: skip
    delta = summary.get("val/delta_db")
    own = {key.rpartition(".")[2]: value for key, value in options.items() if key.startswith("model.")}
    data = {key: str(options.get(f"data.{key}")) for key in ("root", "seed", "chunk_seconds", "chunks_per_song")}
    return FinishedRun(
        name=name,
        protocol=Protocol(
            split="validation",
            songs=tuple(data.items()),
            stems=tuple(options["data.stems"]),
            definitions={"usdr": VALIDATION},
        ),
        model=model(
            summary["val/usdr"], summary.get("val/usdr_mean"), summary.get("flops/total"),
            name=name, is_teacher=False, pattern=TimeAttention.of(own),
            difference=None if delta is None else Interval(delta), retained=summary.get("val/retained"),
            reduction=summary.get("flops/attention_reduction"),
        ),
        teacher=teacher,
        flops_seconds=seconds,
    )  # fmt: skip

"""A run that ``test`` scored on whole songs."""

import csv
import json
import math
from pathlib import Path
from typing import Any

from wsa_lightning.comparison.runs import FinishedRun, Interval, Model, NotComparableError, Protocol, Score
from wsa_lightning.models import TimeAttention

VERSION = 1
AUDIO_SUFFIXES = (".ogg", ".wav", ".flac", ".mp3", ".opus")


def read_tested(name: str, folder: Path) -> FinishedRun:
    """Read ``folder/test``; ``read_run`` catches what a broken file raises."""
    scores = json.loads((folder / "test" / "scores.json").read_text(encoding="utf-8"))
    if scores["version"] != VERSION:
        raise NotComparableError(f"test/scores.json has version {scores['version']}: expected {VERSION}")
    with (folder / "test" / "scores.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if not row["error"]]
    if not rows:
        raise NotComparableError("test/scores.csv holds no scored song")
    has_teacher = "teacher" in scores["models"]
    return FinishedRun(
        name=name,
        protocol=Protocol(
            split=scores["split"],
            songs=tuple(sorted({(row["song"], f"{float(row['seconds']):.2f}") for row in rows})),
            stems=tuple(sorted({row["stem"] for row in rows})),
            definitions=scores["definitions"],
        ),
        model=_model(name, "student" if has_teacher else "model", scores, rows),
        teacher=_model("teacher", "teacher", scores, rows) if has_teacher else None,
        audio=_excerpts(folder / "test" / "audio"),
        failed=tuple(failure["song"] for failure in scores["failed"]),
    )


def _model(name: str, role: str, scores: dict[str, Any], rows: list[dict[str, str]]) -> Model:
    content, blocks = scores["models"][role], scores["separation"][role]
    values = {
        metric: Score(finite_or_none(s["median"]), finite_or_none(s["mean"])) for metric, s in content["scores"].items()
    }
    if undefined := sorted(values.keys() - scores["definitions"].keys()):
        raise NotComparableError(f"test/scores.json does not define {', '.join(undefined)}")
    if values["usdr"].median is None:
        raise NotComparableError(f"test/scores.json has no median uSDR of the {role}")
    difference = (scores.get("difference") or {}).get("usdr") if role == "student" else None
    retained = (scores.get("retained") or {}).get("usdr") if role == "student" else None
    taught = scores["models"]["teacher"]["flops"]["time_attention"] if role == "student" else None
    own = content["flops"]["time_attention"]
    return Model(
        name=name,
        is_teacher=role == "teacher",
        pattern=TimeAttention.of(content),
        scores=values,
        flops_per_second=finite_or_none(content["flops"]["per_second_of_audio"]),
        blocks=(float(blocks["block_seconds"]), float(blocks["step_seconds"])),
        difference=difference
        and Interval(difference["mean"], finite_or_none(difference["low"]), finite_or_none(difference["high"])),
        retained=finite_or_none(retained),
        reduction=taught / own if taught and own else None,
        identity=str(content.get("sha256") or content.get("checkpoint")),
        is_trained=content["checkpoint"] is not None,
        per_song={metric: _songs(rows, role, metric) for metric in values},
    )


def _songs(rows: list[dict[str, str]], role: str, metric: str) -> dict[str, float]:
    """A metric by song, mean over stems; without songs for which it is undefined."""
    values: dict[str, list[float]] = {}
    for row in rows:
        if row["model"] == role and row[metric] and math.isfinite(float(row[metric])):
            values.setdefault(row["song"], []).append(float(row[metric]))
    return {song: sum(scores) / len(scores) for song, scores in values.items()}


def _excerpts(folder: Path) -> dict[str, dict[str, Path]]:
    if not folder.is_dir():
        return {}
    return {
        song.name: {path.stem: path for path in sorted(song.iterdir()) if path.suffix.lower() in AUDIO_SUFFIXES}
        for song in sorted(folder.iterdir())
        if song.is_dir()
    }


def finite_or_none(value: Any) -> float | None:
    """A finite number, or None."""
    return float(value) if value is not None and math.isfinite(value) else None

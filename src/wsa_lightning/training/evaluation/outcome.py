"""The report of one test: a row per song, model and stem, the scores over songs, the paired difference."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rich.table import Table

from wsa_lightning.metrics import DEFINITIONS, Difference, TrackScores, paired_difference
from wsa_lightning.metrics.paired import CONFIDENCE, SEED
from wsa_lightning.training.data_protocol import TrackInfo
from wsa_lightning.training.evaluation.card import ModelCard

RATIOS = ("usdr", "csdr", "si_sdr", "usdr_active")
"""Where student / teacher is what the field reports: SDRs. Of a scale from 0 to 100 a ratio means nothing."""
RATIO_FROM_DB = 1.0
"""Nor does it of a teacher near 0 dB."""


@dataclass(frozen=True)
class Outcome:
    """One finished test.

    Attributes:
        tracks: the songs, in the order of the score tables.
        stems: names of the stems.
        scored: numbers of the songs that have scores.
        scores: model name to metric name to scores, ``nan_frames`` last; ``teacher`` and ``student``, or ``model``.
        cards: the models behind the names.
        failed: song name to what went wrong; such a song has no figure.
        resamples: of the bootstrap.
    """

    tracks: Sequence[TrackInfo]
    stems: Sequence[str]
    scored: Sequence[int]
    scores: Mapping[str, Mapping[str, TrackScores]]
    cards: Mapping[str, ModelCard]
    failed: Mapping[str, str]
    resamples: int

    @property
    def own(self) -> str:
        """The model under test: ``student``, or ``model`` where there is no teacher."""
        return "student" if "teacher" in self.scores else "model"

    @property
    def metrics(self) -> list[str]:
        return [name for name in self.scores[self.own] if name in DEFINITIONS]

    @property
    def columns(self) -> list[str]:
        """Of ``scores.csv``: all metrics known here, computed or not."""
        return ["song", "model", "stem", "seconds", *DEFINITIONS, "nan_frames", "error"]

    def rows(self) -> list[dict[str, Any]]:
        """``scores.csv``: empty where a metric was not asked for, ``nan`` where it is undefined."""
        empty = dict.fromkeys(self.columns, "")
        rows = []
        for number in self.scored:
            song = {"song": self.tracks[number].name, "seconds": self.tracks[number].seconds}
            for model, scores in self.scores.items():
                for stem, name in enumerate(self.stems):
                    figures: dict[str, Any] = {
                        metric: float(found.per_track[number, stem]) for metric, found in scores.items()
                    }
                    if "nan_frames" in figures:
                        figures["nan_frames"] = int(figures["nan_frames"])
                    rows.append({**empty, **song, "model": model, "stem": name, **figures})
        for name, error in self.failed.items():
            rows += [
                {**empty, "song": name, "model": model, "stem": stem, "error": error}
                for model in self.scores
                for stem in self.stems
            ]
        return rows

    def differences(self) -> dict[str, Difference]:
        """Student minus teacher by metric; a song's difference is the mean over its stems. Empty without a teacher."""
        if "teacher" not in self.scores:
            return {}
        student, teacher = self.scores["student"], self.scores["teacher"]
        return {
            name: paired_difference(student[name].per_track, teacher[name].per_track, self.resamples)
            for name in self.metrics
        }

    def retained(self) -> dict[str, float]:
        """Student's median / teacher's of the SDRs, where the teacher has 1 dB or more and the student more than 0."""
        if "teacher" not in self.scores:
            return {}
        found = {}
        for name in self.metrics:
            student, teacher = (float(self.scores[model][name].median) for model in ("student", "teacher"))
            if name in RATIOS and teacher >= RATIO_FROM_DB and student > 0:
                found[name] = student / teacher
        return found

    def scalars(self) -> dict[str, float]:
        """What the logger gets, under ``test/``; undefined figures are left out."""
        found: dict[str, float] = {}
        for model, scores in self.scores.items():
            prefix = "teacher_" if model == "teacher" else ""
            for name in self.metrics:
                found[f"test/{prefix}{name}"] = float(scores[name].median)
                found[f"test/{prefix}{name}_mean"] = float(scores[name].mean)
            if "nan_frames" in scores:
                found[f"test/{prefix}nan_frames"] = nan_frames(scores)
        for name, difference in self.differences().items():
            found[f"test/difference_{name}"] = difference.mean
        if "usdr" in (retained := self.retained()):
            found["test/retained"] = retained["usdr"]
        if "usdr" in self.metrics:
            found["test/silent_songs"] = float(self.scores[self.own]["usdr"].silent)
        found["test/failed_songs"] = float(len(self.failed))
        return {name: value for name, value in found.items() if math.isfinite(value)}

    def to_dict(self) -> dict[str, Any]:
        """The measured part of ``scores.json``."""
        models = {}
        for model, card in self.cards.items():
            scores = self.scores[model]
            models[model] = card.to_dict() | {
                "scores": {
                    name: {
                        "median": float(scores[name].median),
                        "mean": float(scores[name].mean),
                        "n": _defined(scores[name]),
                    }
                    for name in self.metrics
                },
                "nan_frames": nan_frames(scores) if "nan_frames" in scores else None,
            }
        return {
            "songs": len(self.scored),
            "failed": [{"song": song, "error": error} for song, error in self.failed.items()],
            "definitions": {name: DEFINITIONS[name].as_dict() for name in self.metrics},
            "models": models,
            "difference": {name: asdict(difference) for name, difference in self.differences().items()},
            "bootstrap": {
                "resamples": self.resamples,
                "seed": SEED,
                "confidence": CONFIDENCE,
                "method": "percentile",
            },
            "retained": self.retained(),
            "separation": {model: card.blocks() for model, card in self.cards.items()},
        }

    def heading(self) -> str:
        """What the table holds, and which frames are in no figure of it."""
        songs = f"{len(self.scored)} whole song{'s' if len(self.scored) != 1 else ''}"
        lines = [f"{songs}: median / mean over songs"]
        if "teacher" in self.scores:
            lines[0] += "; student - teacher: mean over songs (95 % bootstrap interval)"
        if skipped := {model: count for model, scores in self.scores.items() if (count := nan_frames(scores))}:
            counts = ", ".join(f"{model} {count}" for model, count in skipped.items())
            lines.append(f"1-s frames skipped by cSDR (a source is silent): {counts}")
        if "usdr" in self.metrics and (silent := int(self.scores[self.own]["usdr"].silent)):
            lines.append(f"targets that are silent throughout, with no figure but leakage: {silent}")
        return "\n".join(lines)

    def table(self) -> Table:
        """Median and mean of every metric, teacher and student side by side, and what they differ by."""
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        differences, retained = self.differences(), self.retained()
        table.add_column("", no_wrap=True)
        for title in (*self.scores, *(("student - teacher", "retained") if differences else ()), "n"):
            table.add_column(title, justify="right", no_wrap=True)
        for name in self.metrics:
            unit = DEFINITIONS[name].unit
            cells = [f"{name}, {unit}" if unit == "dB" else name]
            cells += [
                f"{float(scores[name].median):.2f} / {float(scores[name].mean):.2f}" for scores in self.scores.values()
            ]
            if differences:
                found = differences[name]
                cells.append(f"{found.mean:+.2f} ({found.low:+.2f} .. {found.high:+.2f})")
                cells.append(f"{100 * retained[name]:.1f} %" if name in retained else "")
            table.add_row(*cells, str(_defined(self.scores[self.own][name])))
        return table


def nan_frames(scores: Mapping[str, TrackScores]) -> int:
    """Frames that cSDR leaves out, over all songs and stems; 0 where cSDR was not asked for."""
    return int(np.nansum(scores["nan_frames"].per_track)) if "nan_frames" in scores else 0


def _defined(scores: TrackScores) -> int:
    """Songs with a figure for some stem."""
    return int((~np.isnan(scores.per_track)).any(-1).sum())

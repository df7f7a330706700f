"""The report of one test: a row per song, model and stem, the scores over songs, the paired difference."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from wsa_lightning.flops import closed_form, count
from wsa_lightning.metrics import DEFINITIONS, Difference, SongScores, paired_difference
from wsa_lightning.metrics.paired import CONFIDENCE, SEED
from wsa_lightning.models import Roformer
from wsa_lightning.separation import plan_blocks

COLUMNS = ("song", "model", "stem", "seconds", *DEFINITIONS, "nan_frames", "error")
FLOPS_SECONDS = 8.0


@dataclass(frozen=True)
class ModelCard:
    """Who was tested.

    Attributes:
        checkpoint: the file, or None for a student as its teacher made it.
        sha256: of that file.
        network: the model.
    """

    checkpoint: str | None
    sha256: str | None
    network: Roformer

    def to_dict(self) -> dict[str, Any]:
        """Plain data for ``scores.json``."""
        config = self.network.config
        report, blocks = count(self.network, FLOPS_SECONDS), self.blocks()
        per_second = closed_form(config, blocks["block_seconds"]).total / blocks["step_seconds"]
        return {
            "checkpoint": self.checkpoint,
            "sha256": self.sha256,
            "window": config.to_dict()["window"],
            "sinks": config.sinks,
            "parameters": sum(parameter.numel() for parameter in self.network.parameters()),
            "flops": {
                "seconds": report.seconds,
                "total": report.total,
                "time_attention": report.time_attention,
                "per_second_of_audio": per_second,
            },
        }

    def blocks(self) -> dict[str, float]:
        """How whole songs are cut for this model: the length run at once, and from one to the next, in seconds."""
        config = self.network.config
        plan = plan_blocks(config)
        return {"block_seconds": plan.length / config.sample_rate, "step_seconds": plan.step / config.sample_rate}


@dataclass(frozen=True)
class Report:
    """One finished test.

    Attributes:
        songs: names of the songs, in the order of the score tables.
        seconds: their lengths.
        stems: names of the stems.
        scored: numbers of the songs that have scores.
        scores: model name to metric name to scores, ``nan_frames`` last; ``teacher`` and ``student``, or ``model``.
        cards: the models behind the names.
        failed: song name to what went wrong; such a song has no figure.
        resamples: of the bootstrap.
    """

    songs: Sequence[str]
    seconds: Sequence[float]
    stems: Sequence[str]
    scored: Sequence[int]
    scores: Mapping[str, Mapping[str, SongScores]]
    cards: Mapping[str, ModelCard]
    failed: Mapping[str, str]
    resamples: int

    @property
    def own(self) -> str:
        """The model under test: ``student``, or ``model`` where there is no teacher."""
        return "student" if "teacher" in self.scores else "model"

    @property
    def metrics(self) -> list[str]:
        """The metrics that were computed."""
        return [name for name in self.scores[self.own] if name in DEFINITIONS]

    def rows(self) -> list[dict[str, Any]]:
        """``scores.csv``: empty where a metric was not asked for, ``nan`` where it is undefined."""
        empty = dict.fromkeys(COLUMNS, "")
        rows = []
        for number in self.scored:
            song = {"song": self.songs[number], "seconds": self.seconds[number]}
            for model, scores in self.scores.items():
                for stem, name in enumerate(self.stems):
                    figures: dict[str, Any] = {
                        metric: float(found.per_song[number, stem]) for metric, found in scores.items()
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
            name: paired_difference(student[name].per_song, teacher[name].per_song, self.resamples)
            for name in self.metrics
        }

    def retained(self) -> dict[str, float]:
        """Student's median / teacher's, where higher is better and the teacher's is positive."""
        if "teacher" not in self.scores:
            return {}
        medians = {
            name: (float(self.scores["student"][name].median), float(self.scores["teacher"][name].median))
            for name in self.metrics
        }
        return {
            name: student / teacher
            for name, (student, teacher) in medians.items()
            if DEFINITIONS[name].better == "higher" and teacher > 0 and math.isfinite(student)
        }

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

    def to_dict(self, separation: Mapping[str, Any]) -> dict[str, Any]:
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
            "definitions": {name: asdict(DEFINITIONS[name]) for name in self.metrics},
            "models": models,
            "difference": {name: asdict(difference) for name, difference in self.differences().items()},
            "bootstrap": {
                "resamples": self.resamples,
                "seed": SEED,
                "confidence": CONFIDENCE,
                "method": "percentile",
            },
            "retained": self.retained(),
            "separation": dict(separation),
        }

    def table(self) -> Table:
        """Median and mean of every metric, teacher and student side by side, and what they differ by."""
        table = Table(
            title=f"test: median and mean over {len(self.scored)} whole songs; student - teacher: mean over songs with "
            "95 % bootstrap interval",
            title_style="",
            title_justify="left",
            box=None,
            pad_edge=False,
        )
        differences, retained = self.differences(), self.retained()
        table.add_column("", no_wrap=True)
        for title in (*self.scores, *(("student - teacher", "retained") if differences else ()), "n"):
            table.add_column(title, justify="right", no_wrap=True)
        for name in self.metrics:
            unit = DEFINITIONS[name].unit
            cells = [f"{name} {unit}" if unit == "dB" else name]
            cells += [
                f"{float(scores[name].median):.2f} / {float(scores[name].mean):.2f}" for scores in self.scores.values()
            ]
            if differences:
                found = differences[name]
                cells.append(f"{found.mean:+.2f} ({found.low:+.2f} .. {found.high:+.2f})")
                cells.append(f"{100 * retained[name]:.1f} %" if name in retained else "")
            table.add_row(*cells, str(_defined(self.scores[self.own][name])))
        return table


def nan_frames(scores: Mapping[str, SongScores]) -> int:
    """Frames that cSDR leaves out, over all songs and stems."""
    return int(scores["nan_frames"].per_song.nansum())


def _defined(scores: SongScores) -> int:
    """Songs with a figure for some stem."""
    return int((~scores.per_song.isnan()).any(-1).sum())

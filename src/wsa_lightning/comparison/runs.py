"""A finished run as plain data: what was scored, on what, at which cost."""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wsa_lightning.models import Dilation, Window
from wsa_lightning.comparison.curves import Curve

LABELS = {
    "usdr": "uSDR", "usdr_active": "uSDR, vocals sounding", "csdr": "cSDR", "si_sdr": "SI-SDR", "l1_freq": "L1-freq",
    "bleedless": "bleedless", "fullness": "fullness", "leakage": "leakage",
}  # fmt: skip


class NotComparableError(Exception):
    """A run that cannot be read; the message says why."""


@dataclass(frozen=True)
class Score:
    """One metric over all songs; None where no song has it."""

    median: float | None
    mean: float | None


@dataclass(frozen=True)
class Interval:
    """Mean of student minus teacher over songs, with its 95 % bootstrap interval where there is one."""

    mean: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Protocol:
    """What must be the same for two scores to be comparable.

    Attributes:
        split: ``test`` (whole songs), or ``validation`` (chunks, of a run that was only fit).
        songs: what was scored: (song, seconds) pairs, or the data options that pick the validation chunks.
        stems: scored stems.
        definitions: metric to its unit, formula and aggregation, as JSON.
    """

    split: str
    songs: tuple[tuple[str, str], ...]
    stems: tuple[str, ...]
    definitions: tuple[tuple[str, str], ...]

    @property
    def count(self) -> int | None:
        """How many songs; None where the run does not say."""
        return len(self.songs) if self.split == "test" else None

    def metrics(self) -> dict[str, dict[str, str]]:
        """Metric to unit, better, text, aggregation."""
        return {name: json.loads(text) for name, text in self.definitions}

    def describe(self) -> str:
        """One line: split, number of songs, stems."""
        what = f"{self.count} whole songs" if self.count is not None else "chunks"
        return f"{self.split} split, {what}, {' + '.join(self.stems)}"

    def differences(self, other: "Protocol") -> str:
        """What the two do not share, in words."""
        names = [key for key in ("split", "songs", "stems") if getattr(self, key) != getattr(other, key)]
        ours, theirs = dict(self.definitions), dict(other.definitions)
        changed = sorted(metric for metric in ours.keys() | theirs.keys() if ours.get(metric) != theirs.get(metric))
        return ", ".join([*names, *(f"definition of {metric}" for metric in changed)])


@dataclass(frozen=True)
class Model:
    """One scored model: a row of the table and a point of the figure.

    Attributes:
        name: the run's name, or ``teacher``.
        is_teacher: whether it is what a run's student is compared with.
        window: of its time attention, in frames; None is full, a list has one a layer.
        sinks: its sink tokens.
        dilation: frames from one key of the window to the next; a list has one a layer.
        scores: metric to median and mean over songs.
        flops_per_second: FLOPs per second of audio, the separation's overlap counted in.
        blocks: seconds run at once and from one block to the next, when songs were separated; None for chunks.
        difference: student minus teacher in uSDR.
        retained: student / teacher in uSDR.
        reduction: FLOPs of the teacher's time attention / its own.
        identity: what tells one teacher from another.
        is_trained: False for a student as its teacher made it.
        per_song: metric to song to score, mean over stems; without songs whose target is silent.
        audio: song to the excerpt to listen to.
    """

    name: str
    is_teacher: bool
    window: Window
    sinks: int
    scores: dict[str, Score]
    flops_per_second: float
    dilation: Dilation = 1
    blocks: tuple[float, float] | None = None
    difference: Interval | None = None
    retained: float | None = None
    reduction: float | None = None
    identity: str = ""
    is_trained: bool = True
    per_song: dict[str, dict[str, float]] = field(default_factory=dict)
    audio: dict[str, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Hold what files give as a list, one a layer, as a tuple: models are told apart by it."""
        for name in ("window", "dilation"):
            if isinstance(value := getattr(self, name), list):
                object.__setattr__(self, name, tuple(value))

    @property
    def pattern(self) -> tuple[Window, Dilation, int]:
        """What its time attention sees."""
        return self.window, self.dilation, self.sinks

    @property
    def songs(self) -> dict[str, float]:
        """uSDR of every song."""
        return self.per_song.get("usdr", {})

    @property
    def usdr(self) -> float:
        """The score on the figure's y axis: median over songs, in dB."""
        median = self.scores["usdr"].median
        assert median is not None
        return median


@dataclass(frozen=True)
class FinishedRun:
    """A finished run: its student (or only model), its teacher where it has one.

    Attributes:
        name: the folder, relative to what all runs have in common.
        protocol: what was scored, and how.
        model: the student.
        teacher: what it was distilled from.
        references: song to mixture and target excerpts.
        flops_seconds: duration whose FLOPs were counted, of a run that was only fit; noted where runs differ.
        failed: songs that could not be scored.
        curve: (step, validation uSDR) during training, where event files are left.
    """

    name: str
    protocol: Protocol
    model: Model
    teacher: Model | None
    references: dict[str, dict[str, Path]]
    flops_seconds: float | None = None
    failed: tuple[str, ...] = ()
    curve: Curve = ()


def definitions(content: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """What a ``Protocol`` holds of definitions: metric to unit, formula and aggregation, as JSON."""
    return tuple(sorted((metric, json.dumps(text, sort_keys=True)) for metric, text in content.items()))


def finite_or_none(value: Any) -> float | None:
    """A finite number, or None."""
    return float(value) if value is not None and math.isfinite(value) else None

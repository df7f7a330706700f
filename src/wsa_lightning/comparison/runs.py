"""A finished run as plain data: its scores, what they were computed on, and its cost."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from wsa_lightning.comparison.curves import Curve
from wsa_lightning.models import TimeAttention


class NotComparableError(Exception):
    """A run cannot be read; the message says why."""


@dataclass(frozen=True)
class Score:
    """One metric over all songs; None if no song has a value."""

    median: float | None
    mean: float | None


@dataclass(frozen=True)
class Interval:
    """Mean over songs of student minus teacher, with its 95 % bootstrap interval if there is one."""

    mean: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Protocol:
    """What must be equal for two scores to be comparable.

    Attributes:
        split: ``test`` (whole songs), or ``validation`` (chunks, of a run that was only trained).
        songs: (song, seconds) of every scored song, or the data options that select the validation chunks.
        stems: the scored stems.
        definitions: unit, better, text and aggregation of every metric.
    """

    split: str
    songs: tuple[tuple[str, str], ...]
    stems: tuple[str, ...]
    definitions: Mapping[str, Mapping[str, str]]

    @property
    def count(self) -> int | None:
        """Number of songs; None if the run does not record it."""
        return len(self.songs) if self.split == "test" else None

    def describe(self) -> str:
        """One line: split, number of songs, stems."""
        what = f"{self.count} whole songs" if self.count is not None else "chunks"
        return f"{self.split} split, {what}, {' + '.join(self.stems)}"

    def differences(self, other: "Protocol") -> str:
        """The differences between two protocols, in words."""
        names = [key for key in ("split", "songs", "stems") if getattr(self, key) != getattr(other, key)]
        ours, theirs = self.definitions, other.definitions
        changed = sorted(metric for metric in ours.keys() | theirs.keys() if ours.get(metric) != theirs.get(metric))
        return ", ".join([*names, *(f"definition of {metric}" for metric in changed)])


@dataclass(frozen=True)
class Model:
    """One scored model: a row of the table and a point in the figure.

    Attributes:
        name: the run's name, or ``teacher``.
        is_teacher: whether the student of its run is compared with it.
        pattern: its time attention.
        scores: median and mean over songs, by metric.
        flops_per_second: FLOPs per second of audio, including the separation's overlap; None if not counted.
        blocks: seconds of a block, and from one block to the next, of separated songs; None for chunks.
        difference: student minus teacher in uSDR.
        retained: uSDR of student / uSDR of teacher.
        reduction: FLOPs of the teacher's time attention / its own.
        identity: distinguishes one teacher from another.
        is_trained: False for a student that has not been trained.
        per_song: score by metric and song, mean over stems; without songs whose target is silent.
    """

    name: str
    is_teacher: bool
    pattern: TimeAttention
    scores: dict[str, Score]
    flops_per_second: float | None
    blocks: tuple[float, float] | None = None
    difference: Interval | None = None
    retained: float | None = None
    reduction: float | None = None
    identity: str = ""
    is_trained: bool = True
    per_song: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def songs(self) -> dict[str, float]:
        """uSDR of every song."""
        return self.per_song.get("usdr", {})

    @property
    def usdr(self) -> float:
        """The y axis of the figure: median over songs, in dB."""
        median = self.scores["usdr"].median
        assert median is not None
        return median


@dataclass(frozen=True)
class FinishedRun:
    """A finished run: its student (or only model), and its teacher if it has one.

    Attributes:
        name: the folder, relative to the common parent of all runs.
        protocol: what was scored, and how.
        model: the student.
        teacher: the model it was distilled from.
        audio: excerpts by song and by mixture, target, teacher, student or model.
        flops_seconds: duration for which FLOPs were counted, of a run that was only trained.
        failed: songs that could not be scored.
        curve: (step, validation uSDR) during training, if there are event files.
    """

    name: str
    protocol: Protocol
    model: Model
    teacher: Model | None
    audio: dict[str, dict[str, Path]] = field(default_factory=dict)
    flops_seconds: float | None = None
    failed: tuple[str, ...] = ()
    curve: Curve = ()

"""Finished runs as plain data: what ``test`` (or ``fit`` alone) left in a folder, checked on the way in."""

import csv
import glob
import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from wsa_lightning.errors import UserError
from wsa_lightning.models import Window
from wsa_lightning.studies.curves import Curve, read_curve

RUN_MARKS = ("config.yaml", "summary.json", "test/scores.json")
DEEPEST = 3
AUDIO_SUFFIXES = (".ogg", ".wav", ".flac", ".mp3", ".opus")
LABELS = {
    "usdr": "uSDR", "usdr_active": "uSDR, vocals sounding", "csdr": "cSDR", "si_sdr": "SI-SDR", "l1_freq": "L1-freq",
    "bleedless": "bleedless", "fullness": "fullness", "leakage": "leakage",
}  # fmt: skip
VALIDATION = {
    "unit": "dB",
    "better": "higher",
    "text": "10 log10(sum s^2 / sum (s - e)^2), energies summed over all validation chunks of a song",
    "aggregation": "median over songs, mean over stems (val/usdr)",
}


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
        scores: metric to median and mean over songs.
        flops_per_second: FLOPs per second of audio, the separation's overlap counted in.
        difference: student minus teacher in uSDR.
        retained: student / teacher in uSDR.
        reduction: FLOPs of the teacher's time attention / its own.
        identity: what tells one teacher from another.
        songs: uSDR of every song, mean over stems.
        audio: song to the excerpt to listen to.
    """

    name: str
    is_teacher: bool
    window: Window
    sinks: int
    scores: dict[str, Score]
    flops_per_second: float
    difference: Interval | None = None
    retained: float | None = None
    reduction: float | None = None
    identity: str = ""
    songs: dict[str, float] = field(default_factory=dict)
    audio: dict[str, Path] = field(default_factory=dict)

    @property
    def usdr(self) -> float:
        """The score on the figure's y axis: median over songs, in dB."""
        median = self.scores["usdr"].median
        assert median is not None
        return median


@dataclass(frozen=True)
class Run:
    """A finished run: its student (or only model), its teacher where it has one.

    Attributes:
        name: the folder, relative to what all runs have in common.
        protocol: what was scored, and how.
        model: the student.
        teacher: what it was distilled from.
        references: song to mixture and target excerpts.
        separation: options of the separation and seconds whose FLOPs were counted; noted where runs differ.
        failed: songs that could not be scored.
        curve: (step, validation uSDR) during training, where event files are left.
    """

    name: str
    protocol: Protocol
    model: Model
    teacher: Model | None
    references: dict[str, dict[str, Path]]
    separation: str
    failed: tuple[str, ...] = ()
    curve: Curve = ()


def find_runs(arguments: Sequence[str]) -> dict[str, Path]:
    """Run folders by name: each argument is a run, a folder that holds runs (three levels down at most), or a glob.

    Raises:
        UserError: an argument that matches nothing, or holds no run.
    """
    folders: dict[Path, None] = {}
    for argument in arguments:
        path = Path(argument).expanduser()
        matches = [path] if path.exists() else [Path(match) for match in sorted(glob.glob(str(path)))]  # noqa: PTH207
        if not matches:
            raise UserError(f"{argument} matches no folder: expected runs, a folder that holds runs, or a glob")
        found = [run for match in matches if match.is_dir() for run in _below(match, DEEPEST)]
        if not found:
            raise UserError(f"{argument} holds no run: expected a folder with one of {', '.join(RUN_MARKS)}")
        folders |= dict.fromkeys(path.resolve() for path in found)
    common = Path(os.path.commonpath([folder.parent for folder in folders]))
    return {folder.relative_to(common).as_posix(): folder for folder in folders}


def _below(folder: Path, levels: int) -> Iterator[Path]:
    if any((folder / mark).is_file() for mark in RUN_MARKS):
        yield folder
    elif levels:
        for child in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
            yield from _below(child, levels - 1)


def read_run(name: str, folder: Path) -> Run:
    """A finished run.

    Raises:
        NotComparableError: it is unfinished, or a file of it is broken.
    """
    try:
        if (folder / "test" / "scores.json").is_file():
            return replace(_tested(name, folder), curve=read_curve(folder))
        if (folder / "summary.json").is_file():
            return replace(_fitted(name, folder), curve=read_curve(folder))
    except (json.JSONDecodeError, UnicodeDecodeError, yaml.YAMLError, csv.Error) as error:
        raise NotComparableError(f"broken: {' '.join(str(error).split())}") from None
    except KeyError as error:
        raise NotComparableError(f"broken: a file of it lacks {error}") from None
    except (TypeError, ValueError, AttributeError, ArithmeticError, OSError) as error:
        raise NotComparableError(f"broken: {error}") from None
    raise NotComparableError("unfinished: neither test/scores.json nor summary.json")


def _tested(name: str, folder: Path) -> Run:
    """A run that ``test`` scored on whole songs."""
    scores = json.loads((folder / "test" / "scores.json").read_text(encoding="utf-8"))
    if scores["version"] != 1:
        raise NotComparableError(f"test/scores.json has version {scores['version']}: expected 1")
    with (folder / "test" / "scores.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if not row["error"]]
    if not rows:
        raise NotComparableError("test/scores.csv holds no scored song")
    own_name = "student" if "student" in scores["models"] else "model"
    audio = _excerpts(folder / "test" / "audio")

    def model(role: str) -> Model:
        content = scores["models"][role]
        values = {metric: Score(_number(s["median"]), _number(s["mean"])) for metric, s in content["scores"].items()}
        if undefined := sorted(values.keys() - scores["definitions"].keys()):
            raise NotComparableError(f"test/scores.json does not define {', '.join(undefined)}")
        if values["usdr"].median is None:
            raise NotComparableError(f"test/scores.json has no median uSDR of the {role}")
        own = role == own_name
        return Model(
            name=name if own else "teacher",
            is_teacher=not own,
            window=content["window"],
            sinks=content["sinks"],
            scores=values,
            flops_per_second=float(content["flops"]["per_second_of_audio"]),
            identity=str(content.get("sha256") or content.get("checkpoint")),
            songs=_songs(rows, role),
            audio={song: files[role] for song, files in audio.items() if role in files},
        )

    own, teacher = model(own_name), model("teacher") if "teacher" in scores["models"] else None
    if teacher is not None:
        attention = {role: scores["models"][role]["flops"]["time_attention"] for role in ("teacher", own_name)}
        own = _against_teacher(own, scores, attention["teacher"] / attention[own_name])
    seconds = scores["models"][own_name]["flops"]["seconds"]
    return Run(
        name=name,
        protocol=Protocol(
            split=scores["split"],
            songs=tuple(sorted({(row["song"], f"{float(row['seconds']):.2f}") for row in rows})),
            stems=tuple(sorted({row["stem"] for row in rows})),
            definitions=_definitions(scores["definitions"]),
        ),
        model=own,
        teacher=teacher,
        references={
            song: {kind: path for kind, path in files.items() if kind in ("mixture", "target")}
            for song, files in audio.items()
        },
        separation=json.dumps({**scores.get("separation", {}), "flops_seconds": seconds}, sort_keys=True),
        failed=tuple(failure["song"] for failure in scores["failed"]),
    )


def _against_teacher(model: Model, scores: dict[str, Any], reduction: float) -> Model:
    difference = (scores.get("difference") or {}).get("usdr")
    return replace(
        model,
        difference=difference and Interval(difference["mean"], _number(difference["low"]), _number(difference["high"])),
        retained=_number((scores.get("retained") or {}).get("usdr")),
        reduction=reduction,
    )


def _fitted(name: str, folder: Path) -> Run:
    """A run that was only trained: the scores of its last validation."""
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    options, data, seconds = config["model"]["init_args"], config["data"], config["flops"]["seconds"]

    def model(usdr: float, mean: float | None, flops: float, **values: Any) -> Model:
        return Model(scores={"usdr": Score(float(usdr), mean)}, flops_per_second=flops / seconds, **values)

    teacher = None
    if summary.get("val/teacher_usdr") is not None:
        teacher = model(
            summary["val/teacher_usdr"], None, summary["flops/teacher_total"],
            name="teacher", is_teacher=True, window=None, sinks=0, identity=str(summary["teacher"]),
        )  # fmt: skip
    delta = summary.get("val/delta_db")
    return Run(
        name=name,
        protocol=Protocol(
            split="validation",
            songs=tuple((key, str(data.get(key))) for key in ("root", "seed", "chunk_seconds", "chunks_per_song")),
            stems=tuple(data["stems"]),
            definitions=_definitions({"usdr": VALIDATION}),
        ),
        model=model(
            summary["val/usdr"], summary.get("val/usdr_mean"), summary["flops/total"],
            name=name, is_teacher=False, window=options.get("window"), sinks=options.get("sinks", 0),
            difference=None if delta is None else Interval(delta), retained=summary.get("val/retained"),
            reduction=summary.get("flops/attention_reduction"),
        ),
        teacher=teacher,
        references={},
        separation=json.dumps({"overlap": "none: validation is in chunks", "flops_seconds": seconds}, sort_keys=True),
    )  # fmt: skip


def _definitions(content: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((metric, json.dumps(text, sort_keys=True)) for metric, text in content.items()))


def _songs(rows: list[dict[str, str]], role: str) -> dict[str, float]:
    """uSDR a song, mean over its stems; songs whose target is silent have none."""
    values: dict[str, list[float]] = {}
    for row in rows:
        if row["model"] == role and row["usdr"] and math.isfinite(float(row["usdr"])):
            values.setdefault(row["song"], []).append(float(row["usdr"]))
    return {song: sum(usdr) / len(usdr) for song, usdr in values.items()}


def _excerpts(folder: Path) -> dict[str, dict[str, Path]]:
    """Song to {mixture, target, teacher, student} to file."""
    if not folder.is_dir():
        return {}
    return {
        song.name: {path.stem: path for path in sorted(song.iterdir()) if path.suffix.lower() in AUDIO_SUFFIXES}
        for song in sorted(folder.iterdir())
        if song.is_dir()
    }


def _number(value: Any) -> float | None:
    """A finite number, or None."""
    return float(value) if value is not None and math.isfinite(value) else None

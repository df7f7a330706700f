"""A point of a sweep: an ordinary run in a folder of its own, and what its files say about it.

Beside the files of the run itself (docs/sweeps.md), ``sweep/`` in a point's folder holds:
    point.json      the point's options, written before anything runs;
    state.json      its state, rewritten at every change;
    STAGE.log       what the command printed, attempt after attempt;
    finished.json   the marker, written last: nothing else means finished.
"""

import json
import shlex
import sys
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from wsa_lightning.atomic import write_json
from wsa_lightning.sweeps.identity import changes, flat

PROGRAM = (sys.executable, "-m", "wsa_lightning")
REPLACED = "replaced"
"""Where the folders of points that were started over are kept."""
DEFAULT_CHECKPOINT = "last"
State = Literal["running", "failed", "retrying", "interrupted", "submitted", "waiting", "finished"]
"""What a point is doing, in the order in which a long table shows them."""


@dataclass(frozen=True)
class Point:
    """One point; ``stages`` are its commands, in order."""

    name: str
    folder: Path
    axes: Mapping[str, Any]
    configs: tuple[Path, ...]
    options: Mapping[str, Any]
    stages: tuple[str, ...]
    stage_options: Mapping[str, Mapping[str, Any]]
    checkpoint: str
    identity: Mapping[str, Any]

    @property
    def own(self) -> Path:
        """The folder for the sweep's files about this point."""
        return self.folder / "sweep"

    @property
    def last_checkpoint(self) -> Path:
        """What ``fit`` resumes from."""
        return self.folder / "checkpoints" / "last.ckpt"

    @property
    def resumable(self) -> tuple[Path, ...]:
        """The checkpoints that ``fit`` can resume from: the last, and the one before it, which it falls back to."""
        previous = self.last_checkpoint.with_suffix(".previous.ckpt")  # checkpoint_io.previous would import torch
        return tuple(path for path in (self.last_checkpoint, previous) if path.is_file())

    @property
    def lock(self) -> Path:
        """The lock that is held while this point runs."""
        return self.folder.parent / ".locks" / f"{self.name}.lock"

    def log(self, stage: str) -> Path:
        """The output of a stage's command."""
        return self.own / f"{stage}.log"

    def command(self, stage: str, program: Sequence[str] = PROGRAM) -> list[str]:
        """The command of a stage, as it would run now: ``fit`` resumes from its last checkpoint if there is one."""
        words = [*program, stage]
        for config in self.configs:
            words += ["--config", str(config)]
        for key, value in {**self.options, **self.stage_options.get(stage, {})}.items():
            words += [f"--{key}", argument(value)]
        words += ["--trainer.default_root_dir", str(self.folder)]
        if stage == "fit":
            checkpoint = self.last_checkpoint if self.resumable else None
        else:
            checkpoint = self.folder / "checkpoints" / f"{self.checkpoint}.ckpt" if "fit" in self.stages else None
        return words if checkpoint is None else [*words, "--ckpt_path", str(checkpoint)]

    def progress(self, stage: str) -> dict[str, Any]:
        """What ``ProgressCallback`` of a stage wrote last."""
        return read_json(self.folder / "progress" / f"{stage}.json")

    def forget_progress(self, stage: str) -> None:
        """Remove what an earlier attempt wrote, so that a file written afterwards is from this one."""
        (self.folder / "progress" / f"{stage}.json").unlink(missing_ok=True)

    def has_finished(self, stage: str) -> bool:
        """Whether a stage finished completely: ``test`` continues after songs that fail, and has then not finished."""
        progress = self.progress(stage)
        return progress.get("state") == "finished" and not progress.get("test/failed_songs", 0)

    def missing_stages(self) -> tuple[str, ...]:
        """The first stage that has not finished, and all that follow it."""
        for index, stage in enumerate(self.stages):
            if not self.has_finished(stage):
                return self.stages[index:]
        return ()

    @property
    def is_finished(self) -> bool:
        """Whether the marker exists and lists all stages."""
        return set(self.stages) <= set(read_json(self.own / "finished.json").get("stages", []))

    def finish(self) -> None:
        """Write the marker."""
        write_json(self.own / "finished.json", {"stages": list(self.stages), "time": time.time()})
        self.set_state("finished")

    @property
    def state(self) -> dict[str, Any]:
        """The last change: state, stage, attempt, note, time."""
        return read_json(self.own / "state.json")

    def set_state(self, state: State, **about: Any) -> None:
        """Write the state file, which ``sweep`` watches."""
        write_json(self.own / "state.json", {"state": state, **about, "time": time.time()})

    def claim(self, stage: str) -> None:
        """Record the options of this point and of ``stage``, before anything runs in the folder."""
        old = read_json(self.own / "point.json")
        claimed = old or {"version": 1, "name": self.name, **self.identity}
        stages = {**claimed.get("stages", {}), stage: self._choices(stage)}
        if stages != old.get("stages"):
            write_json(self.own / "point.json", {**claimed, "stages": stages})

    def changes(self) -> list[str]:
        """What differs between this point and the one whose files are in the folder."""
        old = read_json(self.own / "point.json")
        if not {"options", "given"} <= old.keys():
            is_empty = not self.folder.is_dir() or all(path == self.own for path in self.folder.iterdir())
            return [] if is_empty else [f"{self.folder} holds files that no sweep made"]
        new = json.loads(json.dumps(self.identity))
        for stage in self._kept_stages(old):
            recorded = old.get("stages", {}).get(stage, _default_choices(stage))
            for side, choices in ((old, recorded), (new, json.loads(json.dumps(self._choices(stage))))):
                side["options"] |= choices
                side["given"] += list(choices)
        return changes(old, new)

    def _choices(self, stage: str) -> dict[str, Any]:
        """Options of one stage beside those of all stages, under the names of the sweep file."""
        chosen = {} if stage == "fit" else {"checkpoint": self.checkpoint}
        return {**chosen, **flat(self.stage_options.get(stage, {}), f"stage_overrides.{stage}.")}

    def _kept_stages(self, old: Mapping[str, Any]) -> Iterator[str]:
        """Stages whose results are kept: a started ``fit`` is resumed; the others start over unless they finished."""
        for stage in self.stages:
            has_started = stage in old.get("stages", {}) or bool(self.progress(stage))
            if self.has_finished(stage) or (stage == "fit" and has_started):
                yield stage

    def set_aside(self) -> Path:
        """Move the folder out of the way, to ``replaced/NAME-1``, ``-2``, ...; nothing is deleted."""
        shelf = self.folder.parent / REPLACED
        shelf.mkdir(parents=True, exist_ok=True)
        number = 1
        while (shelf / f"{self.name}-{number}").exists():
            number += 1
        return self.folder.rename(shelf / f"{self.name}-{number}")

    def make_ready(self, stage: str) -> str:
        """Prepare the folder for ``stage``; returns a note for the user, or an empty string."""
        note = ""
        if stage == "fit":
            if not self.resumable:
                # An attempt that ended before its first checkpoint left curves that the next one draws again.
                for events in self.folder.glob("events.out.tfevents.*"):
                    events.unlink()
            elif not any(map(is_readable, self.resumable)):
                note = f"checkpoints/last.ckpt is unreadable: starting over, the old files are in {self.set_aside()}"
        self.claim(stage)
        self.forget_progress(stage)
        return note


def _default_choices(stage: str) -> dict[str, Any]:
    """The options of a stage where an older version of this package did not record them."""
    return {} if stage == "fit" else {"checkpoint": DEFAULT_CHECKPOINT}


def is_readable(checkpoint: Path) -> bool:
    """Whether every byte of the file is as it was written (a checkpoint is a ZIP file with checksums)."""
    try:
        with zipfile.ZipFile(checkpoint) as file:
            return file.testzip() is None
    except (OSError, zipfile.BadZipFile, EOFError):
        return False


def argument(value: Any) -> str:
    """An option's value as the command line expects it."""
    return value if isinstance(value, str) else json.dumps(value)


def shell_line(command: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
    """A command that can be pasted into a shell."""
    variables = [f"{name}={shlex.quote(value)}" for name, value in (environment or {}).items()]
    return " ".join([*variables, shlex.join(command)])


def read_json(path: Path) -> dict[str, Any]:
    """The content of a small JSON file that another process may be writing; empty if it is absent or broken."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}

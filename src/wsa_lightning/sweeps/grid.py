"""A sweep file: a grid over the options of ``fit``, and the points it expands to."""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from wsa_lightning.errors import UserError
from wsa_lightning.sweeps.identity import flat, identity, over, read_options
from wsa_lightning.sweeps.point import DEFAULT_CHECKPOINT, Point

STAGES = ("fit", "validate", "test", "predict")
CHECKPOINTS = ("last", "best")
LAUNCHERS = ("local", "slurm")
CONFIG_AXIS = "config"
"""The axis of ``grid`` whose values are config files, or lists of them, on top of ``configs``."""
OWN_KEYS = {
    "trainer.devices": "devices",
    "trainer.num_nodes": "nodes",
    "trainer.default_root_dir": "folder",
    "seed_everything": "seeds",
    "data.seed": "seeds",
}
"""Options of ``fit`` that a sweep sets itself, and the key of the sweep file that each follows from."""


@dataclass
class LocalOptions:
    """How the points share this machine.

    Attributes:
        slots: points that run at once; null is one for every ``devices`` GPUs, or without GPUs one for every two cores.
        threads: threads of each process; null divides the cores evenly.
    """

    slots: int | None = None
    threads: int | None = None


@dataclass
class SweepFile:
    """The keys of a sweep file; docs/sweeps.md explains each."""

    folder: str = MISSING
    configs: list[str] = field(default_factory=list)
    grid: dict[str, Any] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    seeds: list[int] = field(default_factory=lambda: [0])
    overrides: dict[str, Any] = field(default_factory=dict)
    stages: list[str] = field(default_factory=lambda: ["fit", "test"])
    stage_overrides: dict[str, Any] = field(default_factory=dict)
    checkpoint: str = DEFAULT_CHECKPOINT
    devices: int = 1
    nodes: int = 1
    retries: int = 1
    launcher: str = "local"
    local: LocalOptions = field(default_factory=LocalOptions)
    slurm: dict[str, Any] = field(default_factory=dict)
    report: dict[str, Any] | None = field(default_factory=dict)


@dataclass(frozen=True)
class Sweep:
    """A sweep file that was checked, and its points."""

    file: SweepFile
    folder: Path
    points: tuple[Point, ...]


def read_sweep(path: Path, base: Path, folder: Path | None = None) -> Sweep:
    """Read a sweep file and expand its grid.

    Args:
        path: the YAML file.
        base: the YAML file with the default of every option.
        folder: the folder for the runs, instead of the file's ``folder``.

    Raises:
        UserError: an invalid key or value; the message names it.
    """
    file = _read(path)
    try:
        _check(file)
        root = (folder or Path(file.folder)).absolute()
        return Sweep(file, root, _expand(file, root, read_options([base])))
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _read(path: Path) -> SweepFile:
    try:
        merged = OmegaConf.merge(OmegaConf.structured(SweepFile), OmegaConf.load(path))
        file = OmegaConf.to_object(merged)
    except OSError as error:
        raise UserError(f"--config {path} cannot be read ({error.strerror}): expected a sweep file") from error
    except (OmegaConfBaseException, YAMLError, ValueError) as error:
        words = str(error).split("object_type=")[0].split()
        raise UserError(
            f"{path}: {' '.join(words)}; the keys are {', '.join(SweepFile.__dataclass_fields__)}"
        ) from error
    assert isinstance(file, SweepFile)
    return file


def _check(file: SweepFile) -> None:
    for key, values, known in (
        ("stages", file.stages, STAGES),
        ("stage_overrides", list(file.stage_overrides), tuple(file.stages)),
        ("checkpoint", [file.checkpoint], CHECKPOINTS),
        ("launcher", [file.launcher], LAUNCHERS),
        ("aliases", list(file.aliases), tuple(file.grid)),
    ):
        if unknown := [value for value in values if value not in known]:
            raise UserError(f"{key} has {unknown[0]}: expected {', '.join(known)}")
    for key, value, least in (
        ("devices", file.devices, 1),
        ("nodes", file.nodes, 1),
        ("retries", file.retries, 0),
        ("local.slots", file.local.slots, 1),
        ("local.threads", file.local.threads, 1),
    ):
        if value is not None and value < least:
            raise UserError(f"{key} is {value}: expected {least} or more")
    for own in file.grid.get(CONFIG_AXIS) or []:
        if not all(isinstance(path, str) for path in (own if isinstance(own, list) else [own])):
            raise UserError(f"grid.config has {own}: expected a config file, or a list of them")
    for key, entries in (("stages", file.stages), ("seeds", file.seeds), *file.grid.items()):
        if not isinstance(entries, list) or not entries:
            raise UserError(f"{key} is {entries}: expected a list of at least one value")
        if len({label(entry) for entry in entries}) < len(entries):
            raise UserError(f"{key} is {entries}: it has a value twice")
    if both := sorted(set(flat(file.grid)) & set(flat(file.overrides))):
        raise UserError(f"{both[0]} is in grid and in overrides: keep one")
    _check_own_keys(file)


def _check_own_keys(file: SweepFile) -> None:
    """Refuse options that a key of the sweep file would silently override, or that would override it."""
    overrides = {f"stage_overrides.{stage}": options for stage, options in file.stage_overrides.items()}
    for where, options in (("grid", file.grid), ("overrides", file.overrides), *overrides.items()):
        if not isinstance(options, dict):
            raise UserError(f"{where} is {options}: expected options of the stage, such as trainer.precision: 32-true")
        for option, value in flat(options).items():
            if own := OWN_KEYS.get(option):
                raise UserError(f"{where} has {option}: {value}: a sweep takes this from the key {own}; set it there")


def _expand(file: SweepFile, root: Path, base: dict[str, Any]) -> tuple[Point, ...]:
    points = []
    for values in itertools.product(*file.grid.values(), file.seeds):
        axes: dict[str, Any] = dict(zip([*file.grid, "seed"], values, strict=True))
        seed, own = axes["seed"], axes.get(CONFIG_AXIS, [])
        configs = [Path(config) for config in (*file.configs, *([own] if isinstance(own, str) else own))]
        options = {
            "seed_everything": seed,
            "data.seed": seed,
            **file.overrides,
            **{axis: axes[axis] for axis in file.grid if axis != CONFIG_AXIS},
            "trainer.devices": file.devices,
            **({"trainer.num_nodes": file.nodes} if file.nodes > 1 else {}),
        }
        whole = flat({key: value for key, value in options.items() if isinstance(value, dict)})
        # Labels have no underscore, so no two combinations share a name.
        name = "_".join(alias(file, axis) + label(value) for axis, value in axes.items())
        points.append(
            Point(
                name=name,
                folder=root / name,
                axes=axes,
                configs=tuple(configs),
                options=options,
                stages=tuple(file.stages),
                stage_options=file.stage_overrides,
                checkpoint=file.checkpoint,
                identity=identity(base, over(read_options(configs), whole), flat(options)),
            )
        )
    return tuple(points)


def alias(file: SweepFile, axis: str) -> str:
    """The name of an axis in folder names."""
    return file.aliases.get(axis) or re.sub(r"[^\w.+-]+", "-", axis.rsplit(".", 1)[-1])


def label(value: Any) -> str:
    """A grid value as it appears in folder names."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return "-".join(map(label, value))
    if isinstance(value, str) and value.endswith((".yaml", ".yml")):
        value = Path(value).stem
    if isinstance(value, dict):
        return "-".join(f"{label(key)}-{label(entry)}" for key, entry in value.items())
    return re.sub(r"[^a-zA-Z0-9.+-]+", "-", str(value))


def select(sweep: Sweep, only: Sequence[str]) -> list[Point]:
    """The points that match every ``AXIS=VALUE[,VALUE...]`` of ``only``.

    An axis is named by its option, its alias or the option's last word, and a value as in folder names.
    """
    chosen = list(sweep.points)
    for words in only:
        name, equals, values = words.partition("=")
        axes = [
            axis
            for axis in (*sweep.file.grid, "seed")
            if name in (axis, alias(sweep.file, axis), axis.rsplit(".", 1)[-1])
        ]
        if not equals or len(axes) != 1:
            known = ", ".join(axis.rsplit(".", 1)[-1] for axis in (*sweep.file.grid, "seed"))
            raise UserError(f"--only {words}: expected AXIS=VALUE, the axes are {known}")
        known_values = _values(sweep, axes[0])
        wanted = set(values.split(","))
        if unknown := sorted(wanted.difference(known_values)):
            raise UserError(f"--only {words}: {axes[0]} has no {unknown[0]}, it has {', '.join(known_values)}")
        chosen = [point for point in chosen if label(point.axes[axes[0]]) in wanted]
    if not chosen:
        asked = " ".join(f"--only {words}" for words in only)
        known = "; ".join(f"{axis} has {', '.join(_values(sweep, axis))}" for axis in (*sweep.file.grid, "seed"))
        raise UserError(
            f"{asked}: no point matches all of these; give each axis once, its values separated by commas ({known})"
        )
    return chosen


def _values(sweep: Sweep, axis: str) -> list[str]:
    """The values of an axis, as they appear in folder names."""
    return list(dict.fromkeys(label(point.axes[axis]) for point in sweep.points))

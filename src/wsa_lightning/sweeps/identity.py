"""What a point is: every option it runs with, so that a finished point is not taken for another."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from wsa_lightning.errors import UserError

# Where a run is kept and how it is shown says nothing about what it computes.
FREE = ("trainer.default_root_dir", "trainer.enable_progress_bar", "progress.")

LOSS = "model.loss."
"""Given in a YAML file or as one mapping it is the whole loss: no earlier term stays. `--model.loss.TERM` adds one."""


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested options under dotted names, without ``init_args``, as they are said on the command line."""
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        name = prefix + ".".join(part for part in str(key).split(".") if part != "init_args")
        name = name.rstrip(".")
        if isinstance(value, Mapping):
            leaves |= flat(value, f"{name}." if name else "")
        else:
            leaves[name] = value
    return leaves


def read_options(paths: Iterable[Path]) -> dict[str, Any]:
    """Options of YAML files, a later one over an earlier one."""
    options: dict[str, Any] = {}
    for path in paths:
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        except OSError as error:
            raise UserError(f"configs: {path} cannot be read ({error.strerror}); name it as --config would") from error
        except yaml.YAMLError as error:
            raise UserError(f"configs: {path} is no YAML: {' '.join(str(error).split())}") from error
        if not isinstance(content, dict):
            raise UserError(f"configs: {path} holds a {type(content).__name__}: expected options of fit")
        options = over(options, flat(content))
    return options


def over(options: Mapping[str, Any], file: Mapping[str, Any]) -> dict[str, Any]:
    """Options with later ones in their place: those of a file, or a whole mapping given on the command line."""
    whole = any(key.startswith(LOSS) for key in file)
    return {**{key: value for key, value in options.items() if not (whole and key.startswith(LOSS))}, **file}


def identity(base: Mapping[str, Any], files: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept beside a point: all options, and the names of those that the sweep itself gave.

    Args:
        base: the options of configs/base.yaml.
        files: those of the sweep's config files together.
        said: those that the sweep says on the command line.
    """
    options = {**over(base, files), **said}
    given = {**files, **said}
    return {
        "options": {key: options[key] for key in sorted(options) if not key.startswith(FREE)},
        "given": sorted(key for key in given if not key.startswith(FREE)),
    }


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """``key: old -> new`` for every option that differs.

    An option known on one side only counts if the sweep gave it, or if it is a term of the loss: a newer version of
    this package may bring options of its own, and their defaults leave older runs as they were.
    """
    ours, theirs = new["options"], old["options"]
    given = {*new["given"], *old["given"]}
    changed = []
    for key in sorted({*ours, *theirs}):
        both = key in ours and key in theirs
        if (both or key in given or key.startswith(LOSS)) and ours.get(key, _ABSENT) != theirs.get(key, _ABSENT):
            changed.append(f"{key}: {_said(theirs, key)} -> {_said(ours, key)}")
    return changed


_ABSENT = object()


def _said(options: Mapping[str, Any], key: str) -> str:
    if key not in options:
        return "absent"
    return "null" if options[key] is None else str(options[key])

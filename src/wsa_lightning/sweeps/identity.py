"""The identity of a point: every option it runs with, so that a finished point is not mistaken for another."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from wsa_lightning.errors import UserError

# Where a run is kept and how it is shown does not change what it computes.
FREE = ("trainer.default_root_dir", "trainer.enable_progress_bar", "progress.")

LOSS = "model.loss."
"""A YAML file or a whole mapping replaces all earlier terms of the loss; `--model.loss.TERM` adds one."""


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested options under dotted names, without ``init_args``, as on the command line: ``model.window``."""
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
            raise UserError(f"configs: {path} is not valid YAML: {' '.join(str(error).split())}") from error
        if not isinstance(content, dict):
            raise UserError(f"configs: {path} holds a {type(content).__name__}: expected options of fit")
        options = over(options, flat(content))
    return options


def over(options: Mapping[str, Any], file: Mapping[str, Any]) -> dict[str, Any]:
    """Options, overridden by those of a file or of a whole mapping given on the command line."""
    whole = any(key.startswith(LOSS) for key in file)
    return {**{key: value for key, value in options.items() if not (whole and key.startswith(LOSS))}, **file}


def identity(base: Mapping[str, Any], files: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """What is recorded about a point: all its options, and the names of those that the sweep itself gave.

    Args:
        base: the options of configs/base.yaml.
        files: those of all the sweep's config files.
        given: those that the sweep gives on the command line.
    """
    options = {**over(base, files), **given}
    return {
        "options": {key: options[key] for key in sorted(options) if not key.startswith(FREE)},
        "given": sorted(key for key in {**files, **given} if not key.startswith(FREE)),
    }


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """``key: old -> new`` for every option that differs.

    An option that only one side has counts if the sweep gave it, or if it is a term of the loss. A newer version of
    this package may add options, and their defaults do not change what older runs computed.
    """
    ours, theirs = new["options"], old["options"]
    given = {*new["given"], *old["given"]}
    changed = []
    for key in sorted({*ours, *theirs}):
        both = key in ours and key in theirs
        if (both or key in given or key.startswith(LOSS)) and ours.get(key, _ABSENT) != theirs.get(key, _ABSENT):
            changed.append(f"{key}: {_value(theirs, key)} -> {_value(ours, key)}")
    return changed


_ABSENT = object()


def _value(options: Mapping[str, Any], key: str) -> str:
    if key not in options:
        return "absent"
    return "null" if options[key] is None else str(options[key])

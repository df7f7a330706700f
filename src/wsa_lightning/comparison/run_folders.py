"""Finds the folders of finished runs, and reads what ``test`` left in one, or ``fit`` alone."""

import csv
import glob
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import yaml

from wsa_lightning.comparison.curves import read_curve
from wsa_lightning.comparison.fitted import read_fitted
from wsa_lightning.comparison.runs import FinishedRun, NotComparableError
from wsa_lightning.comparison.tested import read_tested
from wsa_lightning.errors import UserError
from wsa_lightning.sweeps.point import REPLACED

RUN_MARKS = ("config.yaml", "summary.json", "test/scores.json")
DEEPEST = 3


def find_runs(arguments: Sequence[str]) -> dict[str, Path]:
    """Run folders by name. Each argument is a run, a folder that contains runs (at most three levels down), or a glob.

    What a sweep moved to ``replaced/`` is not one of its results, and is found only if that folder itself is named.

    Raises:
        UserError: an argument matches nothing, or contains no run.
    """
    folders: dict[Path, None] = {}
    for argument in arguments:
        path = Path(argument).expanduser()
        matches = [path] if path.exists() else [Path(match) for match in sorted(glob.glob(str(path)))]  # noqa: PTH207
        if not matches:
            raise UserError(f"{argument} matches no folder: expected runs, a folder that contains runs, or a glob")
        found = [run for match in matches if match.is_dir() for run in _below(match, DEEPEST)]
        if not found:
            raise UserError(f"{argument} contains no run: expected a folder with one of {', '.join(RUN_MARKS)}")
        folders |= dict.fromkeys(path.resolve() for path in found)
    common = Path(os.path.commonpath([folder.parent for folder in folders]))
    return {folder.relative_to(common).as_posix(): folder for folder in folders}


def _below(folder: Path, levels: int) -> Iterator[Path]:
    if any((folder / mark).is_file() for mark in RUN_MARKS):
        yield folder
    elif levels and not (folder.name == REPLACED and levels < DEEPEST):
        for child in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
            yield from _below(child, levels - 1)


def read_run(name: str, folder: Path) -> FinishedRun:
    """Read a finished run.

    Raises:
        NotComparableError: it is unfinished, or one of its files is broken.
    """
    try:
        if (folder / "test" / "scores.json").is_file():
            return replace(read_tested(name, folder), curve=read_curve(folder))
        if (folder / "summary.json").is_file():
            return replace(read_fitted(name, folder), curve=read_curve(folder))
    except (json.JSONDecodeError, UnicodeDecodeError, yaml.YAMLError, csv.Error) as error:
        raise NotComparableError(f"broken: {' '.join(str(error).split())}") from None
    except KeyError as error:
        raise NotComparableError(f"broken: one of its files lacks {error}") from None
    except (TypeError, ValueError, AttributeError, ArithmeticError, OSError) as error:
        raise NotComparableError(f"broken: {error}") from None
    raise NotComparableError("unfinished: neither test/scores.json nor summary.json")

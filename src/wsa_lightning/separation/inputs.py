"""The audio files that a user names, and the folder for the stems of each."""

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from wsa_lightning.separation.audio import SUFFIXES


@dataclass(frozen=True)
class Song:
    """A file to separate, and the folder below OUT for its stems."""

    path: Path
    folder: Path


def find_songs(given: Sequence[Path], out: Path) -> tuple[list[Song], list[str]]:
    """The songs among files and folders, and a message for each given path that has none.

    Folders are searched recursively for files with known suffixes; hidden files, links to folders and ``out`` itself
    are ignored. The stems of ``ROOT/a/b.wav`` go to ``OUT/a/b``. Songs that would share a folder keep their suffix
    (``OUT/b.wav``); if they would still share it, they keep their path below their common parent.
    """
    found: dict[Path, Path] = {}  # file: its path relative to the given folder
    problems = []
    for path in given:
        if path.is_dir():
            inside = _search(path, out.resolve())
            if not inside:
                problems.append(f"{path}: no audio in it; looked for {', '.join(SUFFIXES)}")
            for file in inside:
                found.setdefault(file, file.relative_to(path))
        elif path.is_file():
            found.setdefault(path, Path(path.name))
        else:
            problems.append(f"{path}: no such file or folder")
    return [Song(path, out / place) for path, place in _apart(found).items()], problems


def _search(root: Path, out: Path) -> list[Path]:
    files = []
    for place, folders, names in os.walk(root):
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and (Path(place) / name).resolve() != out
        )
        files += [
            Path(place) / name
            for name in sorted(names)
            if Path(name).suffix.lower() in SUFFIXES and not name.startswith(".")
        ]
    return files


def _apart(found: dict[Path, Path]) -> dict[Path, Path]:
    choices = (
        {file: place.with_suffix("") for file, place in found.items()},
        found,
        _below_common_parent(found),
    )
    folders: dict[Path, Path] = {}
    for choice in choices:
        files_at = defaultdict(list)
        for file, place in choice.items():
            files_at[place].append(file)
        taken = set(folders.values())
        folders |= {
            files[0]: place
            for place, files in files_at.items()
            if len(files) == 1 and files[0] not in folders and place not in taken
        }
    return {file: folders[file] for file in found}


def _below_common_parent(found: Iterable[Path]) -> dict[Path, Path]:
    absolute = {file: Path(os.path.abspath(file)) for file in found}  # noqa: PTH100 - resolve() would follow links
    parent = os.path.commonpath([path.parent for path in absolute.values()]) if absolute else ""
    return {file: path.relative_to(parent) for file, path in absolute.items()}

"""Atomic writes: a file is complete or absent, even if the process that writes it is killed."""

import contextlib
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PARTIAL = ".partial"


@contextlib.contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` to write to; rename it to ``path`` on success, remove it on failure.

    Several processes and threads may do so at once: the last file stays. A killed process leaves ``.NAME.*.partial``
    behind, see ``remove_leftovers``.

    Args:
        path: the file; its folder is created.
        durable: flush to the disk before the rename, so that a power cut leaves either the old file or the new one.

    Raises:
        OSError: the folder cannot be created, or the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}{PARTIAL}")
    try:
        yield temporary
        if durable:
            flush(temporary)
        temporary.replace(path)
        if durable:
            flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str, *, durable: bool = True) -> None:
    """Write a small UTF-8 file atomically."""
    with replacing(path, durable=durable) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any, *, durable: bool = True) -> None:
    """Write a small JSON file atomically."""
    write_text(path, json.dumps(content, indent=2) + "\n", durable=durable)


def flush(path: Path) -> None:
    """Flush the content of a file, or the names in a folder, to the disk; does nothing outside POSIX systems."""
    if os.name != "posix":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_leftovers(folder: Path) -> None:
    """Remove the partial files of killed processes; no other process may be writing to the folder."""
    for leftover in folder.glob(f".*{PARTIAL}"):
        if leftover.is_file():
            leftover.unlink(missing_ok=True)

"""Locks that die with their holder: the kernel gives them back, whatever killed it."""

import errno
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wsa_lightning.errors import UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


HELD = (errno.EACCES, errno.EAGAIN)  # POSIX leaves it to the system which of the two a held lock gives


class HeldError(UserError):
    """Somebody else holds the lock: what it guards, the state file included, is theirs to write."""


@contextmanager
def lock(path: Path, what: str) -> Iterator[None]:
    """Hold ``path`` as a lock; POSIX locks hold across the machines of a cluster that share the folder.

    Raises:
        HeldError: somebody else holds it; the message says who.
        UserError: the system or the file system keeps no locks.
    """
    if fcntl is None:
        raise UserError("a sweep needs POSIX file locks (Linux or macOS), so that no point runs twice")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in HELD:
                raise UserError(
                    f"{path.parent}: this file system keeps no POSIX locks ({error.strerror}): "
                    "name another folder with --out"
                ) from error
            file.seek(0)
            raise HeldError(f"{what} is already being run by {_holder(file.read())}; wait for it or stop it") from error
        file.truncate(0)
        file.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
        file.flush()
        yield


def _holder(content: str) -> str:
    try:
        holder = json.loads(content)
        return f"process {holder['pid']} on {holder['host']}"
    except (ValueError, KeyError, TypeError):
        return "another process"

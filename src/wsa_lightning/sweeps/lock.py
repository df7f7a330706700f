"""File locks that the kernel releases when their holder ends, however it ends."""

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wsa_lightning.errors import UserError


class HeldError(UserError):
    """Somebody else holds the lock. What it guards, including the state file, is theirs to write."""


@contextmanager
def lock(path: Path, what: str) -> Iterator[None]:
    """Hold ``path`` as a POSIX lock, which also works between machines of a cluster that share the folder.

    Raises:
        HeldError: somebody else holds it; the message says who.
        UserError: the system or the file system does not support these locks.
    """
    if sys.platform == "win32":
        raise UserError("a sweep needs POSIX file locks (Linux or macOS), so that no point runs twice")
    import fcntl

    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:  # POSIX allows either for a held lock
            file.seek(0)
            holder = file.read() or "another process"
            raise HeldError(f"{what} is already being run by {holder}; wait for it or stop it") from error
        except OSError as error:
            raise UserError(
                f"{path.parent}: this file system does not support POSIX locks ({error.strerror}): "
                "name another folder with --out"
            ) from error
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield

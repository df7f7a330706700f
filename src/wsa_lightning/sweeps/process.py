"""Commands as child processes that end with us."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

MARK = "WSA_LIGHTNING_POINT"  # in the environment of every process of a point: its folder
PR_SET_PDEATHSIG = 1


def start(command: Sequence[str], folder: Path, log: Path, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start ``command`` in a process group of its own, its output appended to ``log``.

    Ctrl-C in the terminal does not reach it. On Linux it receives SIGTERM when we end, however we end.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **environment, MARK: str(folder)},
            start_new_session=True,
            preexec_fn=_die_with_parent(),
        )


def _die_with_parent() -> Callable[[], None] | None:
    """The first call of a child: it asks for SIGTERM when its parent ends (Linux only)."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl  # looked up before the fork
    return lambda: prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def leftovers(folder: Path) -> list[psutil.Process]:
    """Running processes of an earlier sweep that work in a point's folder."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.environ().get(MARK) == str(folder):
                found.append(process)
    return found


def clear(folder: Path, grace: float = 10.0) -> int:
    """End what an earlier sweep left running in a point's folder; returns the number of these processes.

    The leading process may be saving a checkpoint, so it gets SIGTERM. What is left after ``grace`` seconds is killed.
    """
    found = leftovers(folder)
    for process in found:
        with suppress(psutil.Error, OSError):
            if os.getpgid(process.pid) == process.pid:
                process.terminate()
    until = time.monotonic() + grace
    while (alive := leftovers(folder)) and time.monotonic() < until:  # psutil.wait_procs would wait for zombies too
        time.sleep(0.1)
    for process in alive:
        with suppress(psutil.Error):
            process.kill()
    return len(found)


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Send SIGKILL to the child and to everything that it started."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()

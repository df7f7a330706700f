"""DDP on one machine: when a rank dies, the others go too, within seconds, and one of them says why."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen

import lightning as L

from wsa_lightning.reliability.internals import end_process_observer
from wsa_lightning.reliability.recovery import path, remedy

LAUNCHER = "WSA_LIGHTNING_LAUNCHER"
POLL_SECONDS = 1.0
FAREWELL_SECONDS = 3.0
PATIENCE_SECONDS = 20.0


class RankWatchCallback(L.Callback):
    """A thread in every rank that Lightning started on this machine.

    Rank 0 watches the others, they watch rank 0. When one was killed, rank 0 (or, if that is the one, rank 1) prints
    one message and all exit. When one failed by itself, it has printed its own message, and the rest exit in silence.
    Nothing waits for a collective's timeout, which is half an hour.

    Ranks that something else started (torchrun, Slurm) are that launcher's to watch: it sees all machines.
    """

    def __init__(self) -> None:
        self._children: list[Popen[bytes]] = []
        self._leaving = threading.Event()

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        checkpoint = path(trainer)
        self._children = getattr(trainer.strategy.launcher, "procs", [])
        if self._children:
            end_process_observer()
            _start(lambda: self._watch_children(checkpoint))
        elif is_child():
            rank = trainer.local_rank
            _start(lambda: self._watch_parent(rank, checkpoint))

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Leave together; a broken connection is most often another rank's death, which is for the thread to tell."""
        if (self._children or is_child()) and is_broken_connection(exception):
            time.sleep(PATIENCE_SECONDS)
        self._leaving.set()
        if isinstance(exception, Exception):  # after SIGTERM and Ctrl+C the ranks end by themselves
            end_ranks(self._children)

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Stop watching: ranks may now end in any order."""
        self._leaving.set()

    def _watch_children(self, checkpoint: Path) -> None:
        """Rank 0: go down with the first child that fails."""
        while not self._leaving.wait(POLL_SECONDS):
            for rank, child in enumerate(self._children, start=1):
                if code := child.poll():
                    if code < 0:
                        _say(f"rank {rank} (process {child.pid}) was killed by {_signal_name(-code)}", checkpoint)
                    end_ranks(self._children)
                    os._exit(1 if code < 0 else code)

    def _watch_parent(self, rank: int, checkpoint: Path) -> None:
        """The other ranks: go down with rank 0, which ends its children itself unless it was killed."""
        while not self._leaving.wait(POLL_SECONDS):
            if is_orphan():
                if rank == 1:
                    _say(f"rank 0 (process {os.environ[LAUNCHER]}) was killed", checkpoint)
                os._exit(1)


def mark_launcher() -> None:
    """Let the ranks that Lightning will start from this process know it."""
    if "LOCAL_RANK" not in os.environ:
        os.environ[LAUNCHER] = str(os.getpid())


def is_broken_connection(error: BaseException) -> bool:
    """Whether a collective failed, because another rank has left it."""
    words = str(error).lower()
    return isinstance(error, RuntimeError) and any(word in words for word in ("gloo", "nccl", "connection", "socket"))


def is_child() -> bool:
    """Whether this process is a rank that Lightning started from rank 0."""
    return os.environ.get(LAUNCHER, str(os.getpid())) != str(os.getpid())


def is_orphan() -> bool:
    """Whether rank 0, which started this rank, is gone."""
    return str(os.getppid()) != os.environ[LAUNCHER]


def parent_fails_too() -> bool:
    """In a rank that has failed: whether rank 0 fails within some seconds as well, and so has said why."""
    deadline = time.monotonic() + FAREWELL_SECONDS
    while not is_orphan() and time.monotonic() < deadline:
        time.sleep(0.1)
    return is_orphan()


def end_ranks(children: list["Popen[bytes]"]) -> None:
    """Kill the other ranks: they may hang in a collective, where no other signal reaches them."""
    for child in children:
        if child.poll() is None:
            child.kill()
    for child in children:
        child.wait()


def _start(watch: Callable[[], None]) -> None:
    threading.Thread(target=watch, daemon=True, name="rank-watch").start()


def _say(what: str, checkpoint: Path) -> None:
    print(f"error: {what}; all ranks stop; {remedy(checkpoint)}", file=sys.stderr, flush=True)


def _signal_name(number: int) -> str:
    return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"

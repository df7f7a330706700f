"""Runs points in a pool of slots: start, watch, retry, stop. Each stage is a command of its own."""

import shlex
import signal
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from types import FrameType
from typing import Any

from wsa_lightning.errors import UserError
from wsa_lightning.sweeps.lock import HeldError, lock
from wsa_lightning.sweeps.point import PROGRAM, Point, State
from wsa_lightning.sweeps.process import clear, kill_group, start

POLL_SECONDS = 0.2
# For the leading process. On SIGTERM Lightning finishes its batch and saves; SIGINT interrupts it at any point, and it
# saves too.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
GRACE_SECONDS = 30.0

Slot = Mapping[str, str]
"""A place to run one point: its GPUs or threads, as environment variables."""


class Pool:
    """Runs points until each has finished or failed, or until Ctrl-C or SIGTERM.

    A stage has finished when its progress file says so, whatever the exit code; a point when its marker exists.
    Each slot is served by a generator (``_serve``) that takes one point after the other and yields while a command
    runs, so the life of a point can be read from top to bottom, and one thread serves all slots.

    Args:
        points: what to run, in this order.
        slots: where to run it.
        retries: how often a failed point is tried again.
        program: the words before ``fit`` and its options.
        stop_signals: the signals sent to a child, one after the other, before SIGKILL.
        grace: seconds that a child has after each signal.
        send: sends a signal to a child.
        watch: called after every look at the children, and with True at every change.
    """

    def __init__(
        self,
        points: Sequence[Point],
        slots: Sequence[Slot],
        *,
        retries: int = 1,
        program: Sequence[str] = PROGRAM,
        stop_signals: Sequence[signal.Signals] = STOP_SIGNALS,
        grace: float = GRACE_SECONDS,
        send: Callable[[subprocess.Popen[bytes], signal.Signals], object] = subprocess.Popen.send_signal,
        watch: Callable[[bool], None] = lambda _: None,
    ) -> None:
        self.waiting = deque(points)
        self.slots = slots
        self.retries, self.program = retries, tuple(program)
        self.stop_signals, self.grace = stop_signals, grace
        self.send, self.watch = send, watch
        self.running: list[subprocess.Popen[bytes]] = []
        self.attempts: Counter[str] = Counter()
        self.reasons: dict[str, str] = {}  # why a point's last attempt ended
        self.interrupts: list[signal.Signals] = []

    def run(self) -> None:
        """Run until no point is waiting or running."""
        for point in self.waiting:
            # A held lock means that somebody else writes this point's state. It may be free when its turn comes.
            with suppress(HeldError), lock(point.lock, point.name):
                self._tell(point, "waiting")
        servers = [self._serve(slot) for slot in self.slots]
        with self._listening():
            try:
                while servers := [server for server in servers if next(server, False)]:
                    self.watch(False)
                    time.sleep(POLL_SECONDS)
                    if self.interrupts:
                        self._stop()
            finally:
                self._stop()  # after an error of ours, such as a full disk, the children can still save their files
                for server in servers:
                    server.close()

    def _serve(self, slot: Slot) -> Generator[bool, None, None]:
        """Run points in one slot; yields True while a command runs."""
        while self.waiting and not self.interrupts:
            point = self.waiting.popleft()
            self.attempts[point.name] += 1
            try:
                with lock(point.lock, point.name):
                    yield from self._run_stages(point, slot)
            except HeldError as error:  # the state file belongs to the holder of the lock
                print(f"{point.name} is left alone: {error}", file=sys.stderr, flush=True)
                self.reasons[point.name] = str(error)
            except UserError as error:
                self.reasons[point.name] = str(error)
                self._tell(point, "failed", note=str(error))

    def _run_stages(self, point: Point, slot: Slot) -> Iterator[bool]:
        """Run the missing stages of a point. It then has finished, was interrupted, is tried again, or has failed."""
        attempt = self.attempts[point.name]
        failure = ""
        while (missing := point.missing_stages()) and not (failure or self.interrupts):
            stage = missing[0]
            try:
                process, notes = self._start(point, stage, slot)
            except OSError as error:
                raise UserError(str(error)) from error
            with self._watched(process):
                self._tell(point, "running", stage=stage, attempt=attempt, pid=process.pid, note="; ".join(notes))
                while process.poll() is None:
                    yield True
            if not point.has_finished(stage):
                failure = _describe_end(point, stage, process.returncode)
        if not missing:
            point.finish()
            self.watch(True)
        elif self.interrupts:
            self._tell(point, "interrupted", stage=missing[0], attempt=attempt)
        else:
            self.reasons[point.name] = failure
            is_tried_again = attempt <= self.retries
            if is_tried_again:
                self.waiting.append(point)
            state: State = "retrying" if is_tried_again else "failed"
            self._tell(point, state, stage=missing[0], attempt=attempt, note=failure)

    def _start(self, point: Point, stage: str, slot: Slot) -> tuple[subprocess.Popen[bytes], list[str]]:
        attempt = self.attempts[point.name]
        notes = [f"attempt {attempt - 1}: {reason}"] if (reason := self.reasons.pop(point.name, "")) else []
        notes += [f"ended {count} processes of an earlier sweep"] if (count := clear(point.folder)) else []
        notes += [note] if (note := point.make_ready(stage)) else []
        command = point.command(stage, self.program)
        point.own.mkdir(parents=True, exist_ok=True)
        with point.log(stage).open("a", encoding="utf-8") as log:
            log.write(f"== attempt {attempt}, {datetime.now().astimezone().isoformat(timespec='seconds')}\n")
            log.writelines(f"== {note}\n" for note in notes)
            log.write(f"$ {shlex.join(command)}\n")
        return start(command, point.folder, point.log(stage), slot), notes

    @contextmanager
    def _watched(self, process: subprocess.Popen[bytes]) -> Iterator[None]:
        """Keep a child among the running ones; afterwards nothing of it is left."""
        self.running.append(process)
        try:
            yield
        finally:
            if process.poll() is None:
                self._stop()
            kill_group(process)  # ranks and data workers that outlived the leading process
            self.running.remove(process)

    def _tell(self, point: Point, state: State, **about: Any) -> None:
        point.set_state(state, **about)
        self.watch(True)

    def _stop(self) -> None:
        """Stop the children: each signal with its grace period, then SIGKILL. A second Ctrl-C ends the waiting."""
        for number in self.stop_signals:
            for process in self.running:
                with suppress(ProcessLookupError):
                    self.send(process, number)
            until = time.monotonic() + self.grace
            while time.monotonic() < until and len(self.interrupts) < 2:
                if all(process.poll() is not None for process in self.running):
                    return
                with suppress(OSError):  # a full disk does not shorten the grace period
                    self.watch(False)
                time.sleep(POLL_SECONDS)
        for process in self.running:
            kill_group(process)

    @contextmanager
    def _listening(self) -> Iterator[None]:
        """Record SIGINT, SIGTERM and SIGUSR1 instead of ending at them."""

        def note(number: int, _: FrameType | None) -> None:
            self.interrupts.append(signal.Signals(number))

        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
        before = {number: signal.signal(number, note) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _describe_end(point: Point, stage: str, code: int) -> str:
    """How a command ended, and the last line it printed."""
    # Killed by a signal (-number), or stopped by one and ended in order (128 + number).
    number = -code if code < 0 else code - 128
    ended = f"{stage} ended with " + (
        signal.Signals(number).name if number in set(signal.Signals) else f"exit status {code}"
    )
    with point.log(stage).open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - 4096))
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    return f"{ended}: {lines[-1][:300]}" if lines and not lines[-1].startswith("$ ") else ended

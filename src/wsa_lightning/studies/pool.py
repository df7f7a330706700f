"""Points through a pool of slots: start, watch, retry, stop; each stage a command of its own."""

import shlex
import signal
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Any

from wsa_lightning.errors import UserError
from wsa_lightning.studies.lock import HeldError, lock
from wsa_lightning.studies.point import PROGRAM, Point
from wsa_lightning.studies.process import clear, kill_group, start

POLL_SECONDS = 0.2
# To the leading process: SIGTERM lets Lightning finish its batch and save, SIGINT breaks in anywhere, saving too.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
GRACE_SECONDS = 30.0


@dataclass(frozen=True)
class Slot:
    """A place to run one point: GPUs or threads, as environment variables."""

    environment: Mapping[str, str]


@dataclass
class Running:
    """A point in a slot."""

    point: Point
    slot: Slot
    stage: str
    process: subprocess.Popen[bytes]
    held: ExitStack


class Pool:
    """Runs points until each has finished or failed, or until Ctrl-C or SIGTERM.

    A stage has finished when its progress file says so, whatever the exit code; a point when its marker is there.

    Args:
        points: what to run, in this order.
        slots: where.
        retries: how often a point that fails is tried again.
        program: what stands before ``fit`` and the options.
        stop_signals: what a child is sent, one after the other, before SIGKILL.
        grace: seconds that a child has after each.
        send: how a child is sent a signal.
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
        self.free = list(slots)
        self.retries, self.program = retries, tuple(program)
        self.stop_signals, self.grace = stop_signals, grace
        self.send, self.watch = send, watch
        self.running: list[Running] = []
        self.attempts: Counter[str] = Counter()
        self.reasons: dict[str, str] = {}  # why an earlier attempt ended
        self.finished: list[Point] = []
        self.failed: list[Point] = []
        self.interrupts: list[signal.Signals] = []

    def run(self) -> None:
        """Until nothing waits and nothing runs."""
        for point in self.waiting:
            # Whoever holds a point's lock tells what it is doing; it may be free when the point's turn comes.
            with suppress(HeldError), lock(point.lock, point.name):
                self._tell(point, "waiting")
        with self._listening():
            try:
                while (self.waiting and not self.interrupts) or self.running:
                    if self.interrupts:
                        self._stop()
                    self._fill_slots()
                    self._look()
                    self.watch(False)
                    time.sleep(POLL_SECONDS)
            finally:
                self._end()

    def _fill_slots(self) -> None:
        while self.waiting and self.free and not self.interrupts:
            point, slot = self.waiting.popleft(), self.free.pop()
            held = ExitStack()
            self.attempts[point.name] += 1
            try:
                held.enter_context(lock(point.lock, point.name))
            except UserError as error:
                self._fail_to_start(point, slot, held, error)
            else:
                self._go_on(point, slot, held)

    def _go_on(self, point: Point, slot: Slot, held: ExitStack) -> None:
        """Start the next stage; if none is missing, the point has finished."""
        missing = point.missing_stages()
        if missing and not self.interrupts:
            try:
                self._start(point, missing[0], slot, held)
            except OSError as error:
                self._fail_to_start(point, slot, held, error)
            return
        if missing:
            self._tell(point, "interrupted", stage=missing[0])
        else:
            point.finish()
            self.finished.append(point)
            self.watch(True)
        self._release(slot, held)

    def _fail_to_start(self, point: Point, slot: Slot, held: ExitStack, error: Exception) -> None:
        self._release(slot, held)
        self.failed.append(point)
        self.reasons[point.name] = str(error)
        if isinstance(error, HeldError):  # its state file is the holder's
            print(f"{point.name} is left alone: {error}", file=sys.stderr, flush=True)
        else:
            self._tell(point, "failed", note=str(error))

    def _start(self, point: Point, stage: str, slot: Slot, held: ExitStack) -> None:
        attempt = self.attempts[point.name]
        notes = [f"attempt {attempt - 1}: {reason}"] if (reason := self.reasons.pop(point.name, "")) else []
        notes += [f"ended {count} processes of an earlier sweep"] if (count := clear(point.folder)) else []
        if note := point.make_ready(stage):
            notes.append(note)
        command = point.command(stage, self.program)
        _head(point.log(stage), attempt, command, notes)
        process = start(command, point.folder, point.log(stage), slot.environment)
        self.running.append(Running(point, slot, stage, process, held))
        self._tell(point, "running", stage=stage, attempt=attempt, pid=process.pid, note="; ".join(notes))

    def _look(self) -> None:
        """See which children have ended, and go on with their points."""
        for running in [r for r in self.running if r.process.poll() is not None]:
            self.running.remove(running)
            kill_group(running.process)  # ranks and data workers that outlived the leading process
            if running.point.has_finished(running.stage):
                self._go_on(running.point, running.slot, running.held)
            else:
                self._release(running.slot, running.held)
                self._judge(running)

    def _judge(self, running: Running) -> None:
        """A stage ended without finishing: interrupted by us, to be tried again, or failed."""
        point, attempt = running.point, self.attempts[running.point.name]
        if self.interrupts:
            self._tell(point, "interrupted", stage=running.stage, attempt=attempt)
            return
        reason = self.reasons[point.name] = _reason(running)
        about = {"stage": running.stage, "attempt": attempt, "note": reason}
        if attempt <= self.retries:
            self._tell(point, "retrying", **about)
            self.waiting.append(point)
        else:
            self._tell(point, "failed", **about)
            self.failed.append(point)

    def _tell(self, point: Point, state: str, **about: Any) -> None:
        point.set_state(state, **about)
        self.watch(True)

    def _release(self, slot: Slot, held: ExitStack) -> None:
        held.close()
        self.free.append(slot)

    def _stop(self) -> None:
        """Stop the children: each signal with its grace, then SIGKILL; a second Ctrl-C does not wait."""
        for number in self.stop_signals:
            for running in self.running:
                with suppress(ProcessLookupError):
                    self.send(running.process, number)
            until = time.monotonic() + self.grace
            while time.monotonic() < until and len(self.interrupts) < 2:
                if all(running.process.poll() is not None for running in self.running):
                    return
                with suppress(OSError):  # a disk that fails takes nobody's grace
                    self.watch(False)
                time.sleep(POLL_SECONDS)
        for running in self.running:
            kill_group(running.process)

    def _end(self) -> None:
        """Leave nobody behind: after an error of ours, such as a full disk, the children may still save theirs."""
        try:
            if self.running:
                self._stop()
        finally:
            for running in self.running:
                kill_group(running.process)
                running.held.close()

    @contextmanager
    def _listening(self) -> Iterator[None]:
        """Note SIGINT, SIGTERM and SIGUSR1 instead of dying of them."""

        def note(number: int, _: FrameType | None) -> None:
            self.interrupts.append(signal.Signals(number))

        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
        before = {number: signal.signal(number, note) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _head(log: Path, attempt: int, command: Sequence[str], notes: Sequence[str]) -> None:
    """A line above an attempt's output."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as file:
        file.write(f"== attempt {attempt}, {datetime.now().astimezone().isoformat(timespec='seconds')}\n")
        file.writelines(f"== {note}\n" for note in notes)
        file.write(f"$ {shlex.join(command)}\n")


def _exit(code: int) -> str:
    """A return code in words: killed by a signal, or stopped by one and ended in order (128 + its number)."""
    number = -code if code < 0 else code - 128
    return signal.Signals(number).name if number in set(signal.Signals) else f"exit status {code}"


def _reason(running: Running) -> str:
    """How a command ended, and the last line it printed."""
    ended = f"{running.stage} ended with {_exit(running.process.returncode)}"
    with running.point.log(running.stage).open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - 4096))
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    return f"{ended}: {lines[-1][:300]}" if lines and not lines[-1].startswith("$ ") else ended

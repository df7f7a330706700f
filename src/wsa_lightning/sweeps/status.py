"""The live table of a sweep, from the files that its points write."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import get_args

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from wsa_lightning.results import decimals
from wsa_lightning.sweeps.point import Point, State

STYLES = {"finished": "green", "failed": "red", "running": "bold", "retrying": "yellow", "interrupted": "yellow"}
URGENCY = {state: place for place, state in enumerate(get_args(State))}
REFRESH_SECONDS = 1.0


@dataclass(frozen=True)
class Status:
    """One row: a point's state in words, its progress and scores, and the time left in this stage."""

    name: str
    state: str
    doing: str
    step: str
    val_usdr: float | None
    test_usdr: float | None
    left: str
    note: str


def status(point: Point) -> Status:
    """The current state of a point, from its files."""
    about = point.state
    state = "finished" if point.is_finished else about.get("state", "waiting")
    stage = about.get("stage", "")
    progress = point.progress(stage) if stage else {}
    step, steps, first = progress.get("step", 0), progress.get("steps"), progress.get("first_step", 0)
    left = ""
    if state == "running" and steps and step > first:
        seconds = (steps - step) * (progress["updated"] - progress["started"]) / (step - first)
        left = str(timedelta(seconds=round(seconds)))
    attempt = f", attempt {about['attempt']}" if about.get("attempt", 1) > 1 else ""
    return Status(
        name=point.name,
        state=state,
        doing=f"{stage} {state}{attempt}" if stage and state != "finished" else state,
        step=f"{step}/{steps}" if steps and state != "finished" else "",
        val_usdr=point.progress("fit").get("val/usdr", point.progress("validate").get("val/usdr")),
        test_usdr=point.progress("test").get("test/usdr"),
        left=left,
        note=about.get("note", ""),
    )


class LiveTable:
    """Shows all points on a terminal, redrawn in place; elsewhere it prints a line for every change."""

    def __init__(self, points: Sequence[Point], title: str, console: Console | None = None) -> None:
        self.points, self.title = points, title
        self.console = console or Console()
        # Without a thread of its own: children are forked from this process.
        self.live = Live(console=self.console, auto_refresh=False, transient=True) if self.console.is_terminal else None
        self._drawn = 0.0
        self._said: dict[str, str] = {}

    def __enter__(self) -> "LiveTable":
        if self.live is not None:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.draw(True)
        if self.live is not None:
            self.live.stop()

    def draw(self, now: bool = False) -> None:
        """Read the files again, at most once a second unless ``now``."""
        if not now and time.monotonic() - self._drawn < REFRESH_SECONDS:
            return
        self._drawn = time.monotonic()
        rows = [status(point) for point in self.points]
        if self.live is not None:
            if len(rows) > self.console.height - 8:  # rich cuts the end off
                rows.sort(key=lambda row: URGENCY.get(row.state, 0))
            self.live.update(status_table(rows, self.title), refresh=True)
            return
        for row in rows:
            if self._said.get(row.name) != row.doing:
                self._said[row.name] = row.doing
                scores = "".join(
                    f", {split} uSDR {value:.2f} dB"
                    for split, value in (("val", row.val_usdr), ("test", row.test_usdr))
                    if value is not None and row.state == "finished"
                )
                note = f" ({row.note})" if row.note else ""
                self.console.print(f"{row.name}: {row.doing}{scores}{note}", soft_wrap=True, markup=False)


def status_table(rows: Sequence[Status], title: str) -> Table:
    """Rows as a table, with the number of points in each state in its title."""
    counts = Counter(row.state for row in rows)
    counted = ", ".join(f"{counts[state]} {state}" for state in URGENCY if counts[state])
    drawn = Table(title=f"{title}: {counted}; uSDR in dB", title_style="")
    drawn.add_column("point", no_wrap=True)
    drawn.add_column("state")
    for column in ("step", "val uSDR", "test uSDR", "left"):
        drawn.add_column(column, justify="right", no_wrap=True)
    drawn.add_column("note", overflow="ellipsis", no_wrap=True)
    for row in rows:
        cells = (row.name, row.doing, row.step, decimals(row.val_usdr), decimals(row.test_usdr), row.left)
        drawn.add_row(*cells, escape(row.note), style=STYLES.get(row.state, ""))
    return drawn

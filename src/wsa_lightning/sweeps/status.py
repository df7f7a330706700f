"""The live table of a sweep, drawn from the files that its points write."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.table import Table

from wsa_lightning.results import decimals
from wsa_lightning.sweeps.point import Point

STYLES = {"finished": "green", "failed": "red", "running": "bold", "retrying": "yellow", "interrupted": "yellow"}
ORDER = ("running", "failed", "retrying", "interrupted", "submitted", "waiting", "finished")
REFRESH_SECONDS = 1.0


@dataclass(frozen=True)
class Status:
    """One row: a point's state in words, how far it is, its scores, the seconds that are left of the stage."""

    name: str
    state: str
    doing: str
    step: str
    val_usdr: float | None
    test_usdr: float | None
    left: float | None
    note: str


def status(point: Point) -> Status:
    """What a point's files say now."""
    about = point.state
    state = "finished" if point.is_finished else about.get("state", "waiting")
    stage = about.get("stage", "")
    progress = point.progress(stage) if stage else {}
    step, steps, first = progress.get("step", 0), progress.get("steps"), progress.get("first_step", 0)
    left = None
    if state == "running" and steps and step > first:
        left = (steps - step) * (progress["updated"] - progress["started"]) / (step - first)
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
    """All points on a terminal, redrawn in place; elsewhere a line for every change."""

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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.draw(True)
        if self.live is not None:
            self.live.stop()

    def draw(self, now: bool = False) -> None:
        """Look at the files again, once a second at most."""
        if not now and time.monotonic() - self._drawn < REFRESH_SECONDS:
            return
        self._drawn = time.monotonic()
        rows = [status(point) for point in self.points]
        if self.live is not None:
            self.live.update(status_table(rows, self.title, most=max(5, self.console.height - 8)), refresh=True)
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


def status_table(rows: Sequence[Status], title: str, most: int | None = None) -> Table:
    """Rows as a table; if ``most`` are fewer than all, what runs or failed is kept first."""
    shown = set(range(len(rows)))
    if most is not None and len(rows) > most:
        urgent = sorted(shown, key=lambda index: ORDER.index(rows[index].state) if rows[index].state in ORDER else 0)
        shown = set(urgent[:most])
    counts = {state: sum(row.state == state for row in rows) for state in ORDER}
    caption = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    if len(shown) < len(rows):
        caption += f"; {len(rows) - len(shown)} not shown"
    drawn = Table(title=f"{title}; uSDR in dB", caption=caption, title_style="", caption_style="")
    drawn.add_column("point", no_wrap=True)
    drawn.add_column("state")
    for column in ("step", "val uSDR", "test uSDR", "left"):
        drawn.add_column(column, justify="right", no_wrap=True)
    drawn.add_column("note", overflow="ellipsis", no_wrap=True)
    for index, row in enumerate(rows):
        if index in shown:
            cells = (
                row.name,
                row.doing,
                row.step,
                decimals(row.val_usdr),
                decimals(row.test_usdr),
                "" if row.left is None else str(timedelta(seconds=round(row.left))),
            )
            drawn.add_row(*cells, row.note.replace("[", r"\["), style=STYLES.get(row.state, ""))
    return drawn

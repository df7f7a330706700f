"""``data``: make, check or decode a dataset."""

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from wsa_lightning.atomic import write_json
from wsa_lightning.data.check import SongReport, check_all, find_songs
from wsa_lightning.data.decode import decode_each, find_jobs, import_stempeg, pending
from wsa_lightning.data.songs import make_songs
from wsa_lightning.data.songs.library import usable_cores
from wsa_lightning.errors import UserError

TEST_SHARE = 8


def make(root: Path, *, songs: int = 64, seconds: float = 12.0, seed: int = 0) -> None:
    """Compose songs into ROOT in the MUSDB18-HQ layout; one in eight is a test song.

    Args:
        root: folder to fill; it must be absent, empty, or begun by the same command.
        songs: how many songs, train and test together.
        seconds: length of each song.
        seed: another seed, other songs.
    """
    if songs < 3:
        raise UserError(f"--songs is {songs}: expected at least 3, one each to train, validate and test")
    if seconds <= 0:
        raise UserError(f"--seconds is {seconds}: expected more than 0")
    if seed < 0:
        raise UserError(f"--seed is {seed}: expected 0 or more")
    test = max(1, songs // TEST_SHARE)
    make_songs(root, train=songs - test, test=test, seconds=seconds, seed=seed)
    print(f"{songs - test} train and {test} test songs of {seconds:g} s in {root}")


def check(root: Path, *, sample_rate: int = 44100, workers: int | None = None, json_file: Path | None = None) -> None:
    """Read every sample of the songs in ROOT, and list what training would stumble over or learn wrongly from.

    Looked at: missing, broken and cut-off files, lengths, rates, channels, NaN and infinity, silence, clipping, the
    mixture against the sum of its stems, duplicates. Exit status 1 if a song has an error; warnings alone give 0.

    Args:
        root: a MUSDB18-HQ tree, ROOT/{train,test}/SONG/{mixture,drums,bass,other,vocals}.wav.
        sample_rate: what the songs should have, in Hz.
        workers: songs read at once; null is one a core.
        json_file: also write the whole report here, as JSON.
    """
    workers = _positive("--workers", workers or usable_cores())
    songs = find_songs(root)
    with _progress("checking songs") as bar:
        task = bar.add_task("", total=len(songs))
        reports = check_all(songs, sample_rate, workers, lambda: bar.advance(task))
    faulty = sum(bool(report.errors) for report in reports)
    suspect = sum(bool(report.warnings) and not report.errors for report in reports)
    if json_file is not None:
        write_json(json_file, {"root": str(root), "songs": [report.as_dict() for report in reports]})
    console = Console(width=None if sys.stdout.isatty() else 200)
    if faulty or suspect:
        console.print(_table(reports))
    seconds = sum(report.seconds for report in reports)
    print(f"{len(reports)} songs, {seconds / 3600:.2f} h: {faulty} with errors, {suspect} with warnings only")
    sys.exit(1 if faulty else 0)


def decode(root: Path, out: Path, *, workers: int = 2) -> None:
    """Turn MUSDB18's ROOT/{train,test}/SONG.stem.mp4 into WAV files in OUT, once; needs ffmpeg.

    A call that was stopped goes on where it was. Exit status 1 if a song could not be decoded.

    Args:
        root: MUSDB18 as downloaded.
        out: folder for the MUSDB18-HQ layout; then train with --data.root OUT.
        workers: songs decoded at once; each takes about 0.5 GB for a song of 4 minutes.
    """
    _positive("--workers", workers)
    import_stempeg()
    jobs = find_jobs(root, out)
    todo = pending(jobs)
    failures, loud = [], 0
    with _progress("decoding songs") as bar:
        task = bar.add_task("", total=len(jobs), completed=len(jobs) - len(todo))
        for decoded in decode_each(todo, workers):
            bar.advance(task)
            loud += decoded.loud
            if decoded.error is not None:
                failures.append(decoded.error)
    for failure in failures:
        print(f"error: {failure}", file=sys.stderr)
    note = f"; {loud} in 32-bit float, because 16 bits would clip them" if loud else ""
    print(
        f"{len(jobs) - len(failures)} of {len(jobs)} songs are in {out}, {len(todo) - len(failures)} of them new{note}"
    )
    sys.exit(1 if failures else 0)


def _positive(option: str, value: int) -> int:
    if value < 1:
        raise UserError(f"{option} is {value}: expected at least 1")
    return value


def _progress(what: str) -> Progress:
    return Progress(
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


def _table(reports: Sequence[SongReport]) -> Table:
    """The songs with something to say."""
    table = Table(title="songs with errors or warnings", title_style="", show_lines=True)
    for column in ("song", "s", "", "what"):
        table.add_column(column, overflow="fold", justify="right" if column == "s" else "left")
    for report in reports:
        for level, lines in (("error", report.errors), ("warning", report.warnings)):
            for line in lines:
                table.add_row(
                    report.name, f"{report.seconds:.1f}", level, line, style="red" if level == "error" else ""
                )
    return table

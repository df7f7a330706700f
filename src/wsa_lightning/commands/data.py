"""``data``: make, check or decode a dataset."""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from wsa_lightning.atomic import write_json
from wsa_lightning.data.check import TrackReport, check_each, compare_tracks, track_folders
from wsa_lightning.data.decode import decode_each, find_jobs, import_stempeg
from wsa_lightning.data.embedded import counted, make_tracks
from wsa_lightning.data.folders import is_track
from wsa_lightning.errors import UserError
from wsa_lightning.machine import usable_cores
from wsa_lightning.ranges import NonNegativeInt, PositiveFloat, PositiveInt

TEST_SHARE = 8


def make(root: Path, *, songs: PositiveInt = 64, seconds: PositiveFloat = 12.0, seed: NonNegativeInt = 0) -> None:
    """Compose pieces of music into ROOT in the MUSDB18-HQ layout; one track in eight is a test track.

    Args:
        root: folder to fill; it must be absent, empty, or begun by the same command.
        songs: how many pieces, train and test together.
        seconds: length of each piece.
        seed: another seed gives other pieces.
    """
    if songs < 3:
        raise UserError(f"--songs is {songs}: expected at least 3, one each to train, validate and test")
    test = max(1, songs // TEST_SHARE)
    make_tracks(root, train=songs - test, test=test, seconds=seconds, seed=seed)
    print(f"{songs - test} train and {test} test tracks of {seconds:g} s in {root}")


def check(
    root: Path,
    *,
    sample_rate: PositiveInt = 44100,
    workers: PositiveInt | None = None,
    json_file: Path | None = None,
) -> None:
    """Read every sample of the tracks in ROOT, and list what training would fail on or learn wrongly from.

    Checked: missing, broken and truncated files, lengths, rates, channels, NaN and infinity, silence, clipping, the
    mixture against the sum of its stems, duplicates. Exit status 1 if a track has an error; 0 with warnings only.

    Args:
        root: a MUSDB18-HQ tree, ROOT/{train,test}/TRACK/{mixture,drums,bass,other,vocals}.wav.
        sample_rate: expected, in Hz.
        workers: tracks read at once; null is one per core.
        json_file: also write the whole report to this file, as JSON.
    """
    folders = track_folders(root)
    checked = check_each(folders, sample_rate, workers or usable_cores())
    reports = list(counted(checked, "checking tracks", len(folders)))
    compare_tracks(reports)
    faulty = sum(bool(report.errors) for report in reports)
    suspect = sum(bool(report.warnings) and not report.errors for report in reports)
    if json_file is not None:
        write_json(json_file, {"root": str(root), "songs": [asdict(report) for report in reports]})
    console = Console(width=None if sys.stdout.isatty() else 200)
    if faulty or suspect:
        console.print(_table(reports))
    hours = sum(report.seconds for report in reports) / 3600
    print(f"{len(reports)} tracks, {hours:.2f} h: {faulty} with errors, {suspect} with warnings only")
    sys.exit(1 if faulty else 0)


def decode(root: Path, out: Path, *, workers: PositiveInt = 2) -> None:
    """Decode MUSDB18's ROOT/{train,test}/NAME.stem.mp4 into WAV files in OUT, once; needs ffmpeg.

    A call that was stopped is resumed by the next one. Exit status 1 if a track cannot be decoded.

    Args:
        root: MUSDB18 as downloaded.
        out: folder for the MUSDB18-HQ layout; then train with --data.root OUT.
        workers: tracks decoded at once; each takes about 0.5 GB for a track of 4 minutes.
    """
    import_stempeg()
    jobs = find_jobs(root, out)
    todo = [job for job in jobs if not is_track(job.target)]
    failures, loud = [], 0
    for decoded in counted(decode_each(todo, workers), "decoding tracks", len(todo)):
        loud += decoded.loud
        if decoded.error is not None:
            failures.append(decoded.error)
    for failure in failures:
        print(f"error: {failure}", file=sys.stderr)
    note = f"; {loud} in 32-bit float, because 16 bits would clip them" if loud else ""
    print(
        f"{len(jobs) - len(failures)} of {len(jobs)} tracks are in {out}, {len(todo) - len(failures)} of them new{note}"
    )
    sys.exit(1 if failures else 0)


def _table(reports: Sequence[TrackReport]) -> Table:
    table = Table(title="tracks with errors or warnings", title_style="", show_lines=True)
    for column in ("track", "s", "", "what"):
        table.add_column(column, overflow="fold", justify="right" if column == "s" else "left")
    for report in reports:
        for level, lines in (("error", report.errors), ("warning", report.warnings)):
            style = "red" if level == "error" else ""
            for line in lines:
                table.add_row(report.name, f"{report.seconds:.1f}", level, line, style=style)
    return table

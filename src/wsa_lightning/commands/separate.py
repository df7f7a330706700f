"""``separate``: songs in, stems out."""

import contextlib
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from wsa_lightning import checkpoints
from wsa_lightning.checkpoints.model_files import file_hash
from wsa_lightning.commands.device import find_device
from wsa_lightning.errors import UserError
from wsa_lightning.models import Roformer, describe_patterns
from wsa_lightning.separation import Precision, plan_blocks
from wsa_lightning.separation.audio import open_audio
from wsa_lightning.separation.inputs import Song, find_songs
from wsa_lightning.separation.outputs import Format, StemFormat, Subtype, check_out, missing_stems
from wsa_lightning.separation.songs import separate_file, wanted_stems

GPU_BATCH = 4


def separate(
    songs: list[Path],
    *,
    checkpoint: str = "small",
    config: Path | None = None,
    out: Path = Path("separated"),
    stems: str | None = None,
    format: Format = "wav",
    subtype: Subtype = "PCM_16",
    overwrite: bool = False,
    chunk_seconds: float | None = None,
    overlap: int | None = None,
    batch_size: int | None = None,
    device: str = "auto",
    precision: Precision = "32-true",
    compile: bool = False,
) -> None:
    """Separate songs into OUT/SONG/STEM.wav; what is done already is skipped, and one bad file stops no other.

    Exit status: 0 all done, 1 some files failed, 2 wrong usage or nothing to do.

    Args:
        songs: audio files (wav, flac, ogg, opus, mp3; m4a and mp4 where ffmpeg is installed) and folders of them.
        checkpoint: small, small-teacher, or any model file, ours or public.
        config: the YAML beside a public model file.
        out: where to write; folders below a given folder are kept.
        stems: comma-separated, e.g. vocals,instrumental; all that the model has if not given.
        format: container.
        subtype: PCM_16 and PCM_24 clip what exceeds full scale, and say so; FLOAT keeps it.
        overwrite: replace stems that other options, another model or another file of that name made.
        chunk_seconds: length of a block; that trained on if not given, and at least 8 s for a student.
        overlap: blocks a sample lies in; 2 for full attention, only what it needs for a student, if not given.
        batch_size: blocks computed at once; 1 on a CPU, 4 on a GPU, if not given.
        device: auto, cpu, cuda, cuda:1, mps.
        precision: as the Trainer names it.
        compile: run the layers through torch.compile, which takes a minute first; for many songs on a GPU.
    """
    if batch_size is not None and batch_size < 1:
        raise UserError(f"--batch_size is {batch_size}: expected at least 1")
    form = StemFormat(format, subtype)
    on = find_device(device)
    found, problems = find_songs(songs, out)
    if not found:
        raise UserError("; ".join(problems))
    check_out(out)
    model = checkpoints.load(checkpoint, config=config).eval().to(on)
    wanted = wanted_stems(model.config, stems and [stem.strip() for stem in stems.split(",") if stem.strip()])
    plan = plan_blocks(model.config, chunk_seconds, overlap)
    window = describe_patterns(model.config)
    attention = "full attention" if window == "full" else f"window {window}, {model.config.sinks} sinks"
    # A public student's window stands in its YAML, not in the file that is hashed.
    recipe = f"{identity(checkpoint)}, {attention}, {plan.length} samples every {plan.step}, {precision}, {subtype}"
    print(f"{checkpoint}: {attention}, {plan.length / plan.step:.2f} s computed for each second of a song, on {on}")
    if compile:
        model.compile_layers()
    options: dict[str, Any] = {
        "chunk_seconds": chunk_seconds,
        "overlap": overlap,
        "batch_size": batch_size if batch_size is not None else 1 if on.type == "cpu" else GPU_BATCH,
        "precision": precision,
    }
    run = Run(model, wanted, form, recipe, options, overwrite=overwrite)
    for problem in problems:
        run.fail(problem)
    try:
        with run.progress, stopped_by_sigterm():
            for number, song in enumerate(found, start=1):
                run.one(song, f"{number}/{len(found)}")
    except KeyboardInterrupt:
        print(f"stopped; {run.done} separated. The same command goes on with the rest", file=sys.stderr)
        sys.exit(130)
    print(f"{run.done} separated, {run.skipped} done before, {run.failed} failed; stems in {out}")
    if run.failed:
        sys.exit(1)


class Run:
    """One call of the command: what it makes of each song, and the counts."""

    def __init__(
        self,
        model: Roformer,
        stems: tuple[str, ...],
        form: StemFormat,
        recipe: str,
        options: dict[str, Any],
        *,
        overwrite: bool,
    ) -> None:
        self.model, self.stems, self.form, self.options = model, stems, form, options
        self.recipe, self.overwrite = recipe, overwrite
        self.done = self.skipped = self.failed = 0
        console = Console(stderr=True)
        self.progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            SpeedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
            redirect_stdout=sys.stdout.isatty(),  # else it would send piped lines to standard error
        )

    def one(self, song: Song, number: str) -> None:
        """Separate a song, unless it is done; a user's mistake is reported and counted, and the next song follows."""
        try:
            comment = f"wsa-lightning: {origin(song.path)}; {self.recipe}"
            stems = missing_stems(song.folder, self.stems, self.form, comment, overwrite=self.overwrite)
            if not stems:
                self.skipped += 1
                print(f"{song.path}: done before, skipped")
                return
            self._separate(song, stems, comment, number)
            self.done += 1
        except (UserError, OSError) as error:
            self.fail(f"{song.path}: {error}")
        except torch.OutOfMemoryError:
            self.fail(f"{song.path}: the GPU's memory is too small: lower --batch_size, then --chunk_seconds")

    def _separate(self, song: Song, stems: tuple[str, ...], comment: str, number: str) -> None:
        with open_audio(song.path) as audio:
            total = audio.samples / audio.sample_rate
        task = self.progress.add_task(f"{number} {song.path.name}", total=total)
        start = time.perf_counter()
        try:
            result = separate_file(
                self.model,
                song.path,
                song.folder,
                stems=stems,
                form=self.form,
                comment=comment,
                advance=lambda seconds: self.progress.update(task, completed=seconds),
                **self.options,
            )
        finally:
            self.progress.remove_task(task)
        elapsed = time.perf_counter() - start
        print(
            f"{song.path}: {', '.join(stems)} in {song.folder}, {result.seconds:.1f} s of music in {elapsed:.1f} s "
            f"({result.seconds / elapsed:.1f} x real time)"
        )
        for note in result.notes:
            print(f"  {note}")

    def fail(self, line: str) -> None:
        """Report what cannot be done."""
        self.failed += 1
        self.progress.console.print(f"error: {line}", markup=False, highlight=False, soft_wrap=True)


class SpeedColumn(ProgressColumn):
    """Seconds of music a second."""

    def render(self, task: Task) -> Text:
        """``3.1 x real time``."""
        return Text(f"{task.speed:.1f} x real time" if task.speed else "")


@contextlib.contextmanager
def stopped_by_sigterm() -> Iterator[None]:
    """Exit as Ctrl-C does when told to end, so that unfinished files are taken away."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def identity(checkpoint: str) -> str:
    """A model file: its name as given, and how its SHA-256 begins."""
    return f"{checkpoint} sha256:{file_hash(checkpoint)[:16]}"


def origin(path: Path) -> str:
    """A file as it is now."""
    status = path.stat()
    return f"{path.name}, {status.st_size} bytes of {status.st_mtime_ns}"

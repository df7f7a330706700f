"""``separate``: songs in, stems out."""

import contextlib
import signal
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from wsa_lightning import checkpoints
from wsa_lightning.checkpoints.model_files import file_hash
from wsa_lightning.commands.device import find_device
from wsa_lightning.errors import UserError
from wsa_lightning.models import describe_patterns
from wsa_lightning.ranges import PositiveFloat, PositiveInt
from wsa_lightning.separation import Precision, plan_blocks
from wsa_lightning.separation.inputs import Song, find_songs
from wsa_lightning.separation.outputs import Container, StemFormat, Subtype, check_out, missing_stems
from wsa_lightning.separation.songs import Separation, separate_file, wanted_stems

GPU_BATCH = 4


def separate(
    songs: list[Path],
    *,
    checkpoint: str = "small",
    config: Path | None = None,
    out: Path = Path("separated"),
    stems: str | None = None,
    format: Container = "wav",
    subtype: Subtype = "PCM_16",
    overwrite: bool = False,
    chunk_seconds: PositiveFloat | None = None,
    overlap: PositiveInt | None = None,
    batch_size: PositiveInt | None = None,
    device: str = "auto",
    precision: Precision = "32-true",
    compile: bool = False,
) -> None:
    """Separate songs into OUT/SONG/STEM.wav. Songs that are done are skipped, and a bad file does not stop the others.

    Exit status: 0 all done, 1 some files failed, 2 wrong usage or nothing to do.

    Args:
        songs: audio files (wav, flac, ogg, opus, mp3; m4a and mp4 where ffmpeg is installed) and folders of them.
        checkpoint: small, small-teacher, or any model file, ours or public.
        config: the YAML beside a public model file.
        out: where to write; folders below a given folder are kept.
        stems: comma-separated, e.g. vocals,instrumental; if not given, all that the model has.
        format: container.
        subtype: PCM_16 and PCM_24 clip what exceeds full scale, which is reported; FLOAT does not clip.
        overwrite: replace stems made with other options, with another model or from another file of that name.
        chunk_seconds: length of a block; if not given, the one used in training, and at least 8 s for a student.
        overlap: blocks a sample lies in; if not given, 2 for full attention, and the minimum for a student.
        batch_size: blocks computed at once; if not given, 1 on a CPU and 4 on a GPU.
        device: auto, cpu, cuda, cuda:1, mps.
        precision: in the words of Lightning's Trainer.
        compile: use torch.compile, which takes about a minute at the start; for many songs on a GPU.
    """
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
    # The hash does not cover the window of a public student, which is in the YAML beside its file.
    recipe = (
        f"{checkpoint} sha256:{file_hash(checkpoint)[:16]}, {attention}, {plan.length} samples every {plan.step}, "
        f"{precision}, {subtype}"
    )
    print(f"{checkpoint}: {attention}, {plan.length / plan.step:.2f} s computed for each second of a song, on {on}")
    if compile:
        model.compile_layers()
    work = partial(
        separate_file,
        model,
        form=form,
        chunk_seconds=chunk_seconds,
        overlap=overlap,
        batch_size=batch_size or (1 if on.type == "cpu" else GPU_BATCH),
        precision=precision,
    )
    separator = FileSeparator(work, wanted, form, recipe, overwrite=overwrite)
    for problem in problems:
        separator.fail(problem)
    try:
        with separator.progress, stopped_by_sigterm():
            for number, song in enumerate(found, start=1):
                separator.process(song, f"{number}/{len(found)}")
    except KeyboardInterrupt:
        print(f"stopped; {separator.done} separated. The same command continues with the rest", file=sys.stderr)
        sys.exit(130)
    print(f"{separator.done} separated, {separator.skipped} done before, {separator.failed} failed; stems in {out}")
    if separator.failed:
        sys.exit(1)


class FileSeparator:
    """Separates one song after another with the same options, reports on each, and counts.

    Args:
        work: ``separate_file`` without the arguments that differ between songs.
        stems: the wanted ones.
        form: how they are stored.
        recipe: what the stems depend on besides the song, for the files' comment field.
        overwrite: whether to replace stems with another comment.
    """

    def __init__(
        self, work: Callable[..., Separation], stems: tuple[str, ...], form: StemFormat, recipe: str, *, overwrite: bool
    ) -> None:
        self.work, self.stems, self.form, self.recipe, self.overwrite = work, stems, form, recipe, overwrite
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
            redirect_stdout=sys.stdout.isatty(),  # otherwise piped output would go to standard error
        )

    def process(self, song: Song, number: str) -> None:
        """Separate a song unless it is done; an error that the user can fix is reported and counted."""
        try:
            file = song.path.stat()
            origin = f"{song.path.name}, {file.st_size} bytes of {file.st_mtime_ns}"
            comment = f"wsa-lightning: {origin}; {self.recipe}"
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
            self.fail(f"{song.path}: out of GPU memory: lower --batch_size, then --chunk_seconds")

    def _separate(self, song: Song, stems: tuple[str, ...], comment: str, number: str) -> None:
        task = self.progress.add_task(f"{number} {song.path.name}", total=None)
        start = time.perf_counter()
        try:
            result = self.work(
                song.path,
                song.folder,
                stems=stems,
                comment=comment,
                advance=lambda done, total: self.progress.update(task, completed=done, total=total),
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
        """Report and count a failure."""
        self.failed += 1
        self.progress.console.print(f"error: {line}", markup=False, highlight=False, soft_wrap=True)


class SpeedColumn(ProgressColumn):
    """Seconds of music per second, as ``3.1 x real time``."""

    def render(self, task: Task) -> Text:
        """The speed of a task."""
        return Text(f"{task.speed:.1f} x real time" if task.speed else "")


@contextlib.contextmanager
def stopped_by_sigterm() -> Iterator[None]:
    """Turn SIGTERM into an exit with status 143, so that unfinished files are removed."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)

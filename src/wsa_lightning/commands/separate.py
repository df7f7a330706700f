"""``separate``: songs in, stems out."""

import hashlib
import signal
import sys
import time
from pathlib import Path
from typing import Literal, cast

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from wsa_lightning import checkpoints
from wsa_lightning.checkpoints.files import resolve_path
from wsa_lightning.errors import UserError
from wsa_lightning.models import Roformer, describe_window
from wsa_lightning.separation import plan_blocks
from wsa_lightning.separation.audio import open_audio
from wsa_lightning.separation.inputs import Song, find_songs
from wsa_lightning.separation.outputs import Format, StemFormat, Subtype, comment_of
from wsa_lightning.separation.songs import available_stems, separate_file

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
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true",
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
        compile: run the model through torch.compile, which takes minutes first; for many songs on a GPU.
    """
    if batch_size is not None and batch_size < 1:
        raise UserError(f"--batch_size is {batch_size}: expected at least 1")
    form = StemFormat(format, subtype)
    on = find_device(device)
    model = checkpoints.load(checkpoint, config=config).eval().to(on)
    plan = plan_blocks(model.config, chunk_seconds, overlap)
    chosen = choose_stems(stems, available_stems(model.config))
    found, problems = find_songs(songs, out)
    if not found:
        raise UserError("; ".join(problems))
    check_out(out)
    recipe = (
        f"{checkpoint} sha256:{sha256(resolve_path(checkpoint))[:16]}, {plan.length} samples every {plan.step}, "
        f"{precision}, {subtype}"
    )
    window = model.config.window
    attention = "full attention" if window is None else f"window {describe_window(window)}, {model.config.sinks} sinks"
    print(f"{checkpoint}: {attention}, {plan.length / plan.step:.2f} s computed for each second of a song, on {on}")
    if compile:
        model = cast(Roformer, torch.compile(model))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that unfinished files are taken away
    run = Run(model, form, chosen, recipe, overwrite)
    options: dict[str, object] = {
        "chunk_seconds": chunk_seconds,
        "overlap": overlap,
        "batch_size": batch_size if batch_size is not None else 1 if on.type == "cpu" else GPU_BATCH,
        "precision": precision,
    }
    for problem in problems:
        run.fail(problem)
    try:
        with run.progress:
            for number, song in enumerate(found, start=1):
                run.one(song, f"{number}/{len(found)}", options)
    except KeyboardInterrupt:
        print(f"stopped; {run.done} separated. The same command goes on with the rest", file=sys.stderr)
        sys.exit(130)
    print(f"{run.done} separated, {run.skipped} done before, {run.failed} failed; stems in {out}")
    if run.failed:
        sys.exit(1)


class Run:
    """One call of the command: what it makes of each song, and the counts."""

    def __init__(self, model: Roformer, form: StemFormat, stems: tuple[str, ...], recipe: str, overwrite: bool) -> None:
        self.model, self.form, self.stems = model, form, stems
        self.recipe, self.overwrite = recipe, overwrite
        self.done = self.skipped = self.failed = 0
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            SpeedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
            redirect_stdout=sys.stdout.isatty(),  # else it would send piped lines to standard error
        )

    def one(self, song: Song, number: str, options: dict[str, object]) -> None:
        """Separate a song, unless it is done; a user's mistake is reported and counted, and the next song follows."""
        try:
            comment = f"wsa-lightning: {origin(song.path)}; {self.recipe}"
            wanted = self._missing(song, comment)
            if not wanted:
                self.skipped += 1
                print(f"{song.path}: done before, skipped")
                return
            with open_audio(song.path) as audio:
                total = audio.samples / audio.sample_rate
            task = self.progress.add_task(f"{number} {song.path.name}", total=total)
            start = time.perf_counter()
            try:
                result = separate_file(
                    self.model,
                    song.path,
                    song.folder,
                    stems=wanted,
                    form=self.form,
                    comment=comment,
                    advance=lambda seconds: self.progress.update(task, completed=seconds),
                    **options,
                )
            finally:
                self.progress.remove_task(task)
        except (UserError, OSError) as error:
            self.fail(f"{song.path}: {error}")
            return
        except torch.OutOfMemoryError:
            self.fail(f"{song.path}: the GPU's memory is too small: lower --batch_size, then --chunk_seconds")
            return
        self.done += 1
        elapsed = time.perf_counter() - start
        print(
            f"{song.path}: {', '.join(wanted)} in {song.folder}, {result.seconds:.1f} s of music in {elapsed:.1f} s "
            f"({result.seconds / elapsed:.1f} x real time)"
        )
        for note in result.notes:
            print(f"  {note}")

    def _missing(self, song: Song, comment: str) -> tuple[str, ...]:
        """The stems that this call would not find made by itself.

        Raises:
            UserError: a file is there that something else made.
        """
        missing = []
        for stem in self.stems:
            path = self.form.path(song.folder, stem)
            if path.exists() and not self.overwrite:
                if (made := comment_of(path)) == comment:
                    continue
                raise UserError(
                    f"{path} exists, made by {made or 'something else'!r}, not {comment!r}: "
                    "pass --overwrite, or another --out"
                )
            missing.append(stem)
        return tuple(missing)

    def fail(self, line: str) -> None:
        """Report what cannot be done."""
        self.failed += 1
        self.progress.console.print(f"error: {line}", markup=False, highlight=False, soft_wrap=True)


class SpeedColumn(ProgressColumn):
    """Seconds of music a second."""

    def render(self, task: Task) -> Text:
        """``3.1 x real time``."""
        return Text(f"{task.speed:.1f} x real time" if task.speed else "")


def choose_stems(stems: str | None, available: tuple[str, ...]) -> tuple[str, ...]:
    """The stems named in a comma-separated list; all of them for None."""
    if stems is None:
        return available
    chosen = tuple(dict.fromkeys(stem.strip() for stem in stems.split(",") if stem.strip()))
    if not chosen or (set(chosen) - set(available)):
        raise UserError(f"--stems is {stems!r}: expected some of {','.join(available)}, comma-separated")
    return chosen


def find_device(name: str) -> torch.device:
    """The device of that name, if this machine has it; ``auto`` is the GPU if there is one."""
    if name == "auto":
        mps = torch.backends.mps.is_available()
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if mps else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"--device {name} cannot be used ({reason}): expected auto, cpu, cuda, mps") from None
    return device


def check_out(out: Path) -> None:
    """Refuse a folder that cannot be written, before anything is computed."""
    place = next(path for path in (out, *out.absolute().parents) if path.exists())
    if not place.is_dir():
        raise UserError(f"--out {out}: {place} is a file, expected a folder")
    probe = place / ".wsa-lightning.probe"
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(f"--out {out} cannot be written ({error.strerror}): choose another folder") from None


def origin(path: Path) -> str:
    """A file as it is now."""
    status = path.stat()
    return f"{path.name}, {status.st_size} bytes of {status.st_mtime_ns}"


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()

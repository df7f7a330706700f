"""MUSDB18's compressed songs (``.stem.mp4``, five AAC streams) into the layout of MUSDB18-HQ, once.

The only place that imports stempeg, musdb's reader, and with it ffmpeg: training never starts a decoder. stempeg is
asked for floats, where musdb asks for 16 bits, in which ffmpeg would clip AAC's overshoots without a word.
"""

import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from wsa_lightning.data.songs.files import PARTIAL, is_song
from wsa_lightning.errors import UserError

STREAMS = ("mixture", "drums", "bass", "other", "vocals")
_SUFFIX = ".stem.mp4"
_AAC_FRAME = 1024


@dataclass(frozen=True)
class Job:
    """One song to decode: the compressed file and the folder it becomes."""

    source: Path
    target: Path


@dataclass(frozen=True)
class Decoded:
    """What became of one song: an error, or None and whether it was beyond full scale (and so kept in float)."""

    job: Job
    error: str | None = None
    loud: bool = False


def find_jobs(root: Path, out: Path) -> list[Job]:
    """Every ``ROOT/{train,test}/SONG.stem.mp4`` and its folder ``OUT/{train,test}/SONG``.

    Raises:
        UserError: there is none, or OUT lies within ROOT.
    """
    found = [(subset, file) for subset in ("train", "test") for file in sorted((root / subset).glob(f"*{_SUFFIX}"))]
    if not found:
        raise UserError(f"{root} holds no {{train,test}}/*{_SUFFIX}: expected MUSDB18 as it is downloaded")
    if out.resolve() == root.resolve():
        raise UserError(f"OUT is ROOT ({out}): name another folder")
    return [Job(file, out / subset / file.name.removesuffix(_SUFFIX)) for subset, file in found]


def pending(jobs: list[Job]) -> list[Job]:
    """The jobs whose song is not there yet; a song's folder appears whole or not at all."""
    return [job for job in jobs if not is_song(job.target)]


def import_stempeg() -> Any:
    """The stempeg package, which looks for ffmpeg and ffprobe when it is imported.

    Raises:
        UserError: one of the three is missing.
    """
    for program in ("ffmpeg", "ffprobe"):
        if shutil.which(program) is None:
            raise UserError(
                f"{program} is not on the PATH, and {_SUFFIX} needs it: install ffmpeg (apt install ffmpeg)"
            )
    try:
        import stempeg
    except (ImportError, RuntimeError) as error:
        raise UserError(f"stempeg cannot be imported ({error}); pip install musdb") from None
    return stempeg


def decode_each(jobs: list[Job], workers: int) -> Iterator[Decoded]:
    """Decode in parallel threads, each waiting for its ffmpeg; yields a ``Decoded`` a song, in order of completion."""
    stempeg = import_stempeg()
    for folder in {job.target.parent for job in jobs}:
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.glob(f"{PARTIAL}*"):
            shutil.rmtree(leftover, ignore_errors=True)
    with ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(decode_song, job, stempeg) for job in jobs]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def decode_song(job: Job, stempeg: Any) -> Decoded:
    """Decode one song beside its target and rename it into place.

    16-bit like MUSDB18-HQ, or 32-bit float where 16 bits would clip: AAC overshoots full scale.
    """
    try:
        loud = _decode(job, stempeg)
    except UserError as error:
        return Decoded(job, str(error))
    except (Exception, Warning) as error:  # ffmpeg's and stempeg's failures have no common type; others go on
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
        return Decoded(job, f"{job.source}: cannot be decoded ({reason}); download it again")
    return Decoded(job, loud=loud)


def _decode(job: Job, stempeg: Any) -> bool:
    info = stempeg.Info(str(job.source))
    stems, rate = stempeg.read_stems(str(job.source), info=info, dtype=np.float32, ffmpeg_format="f32le")  # (5, N, 2)
    if stems.ndim != 3 or stems.shape[0] != len(STREAMS) or stems.shape[2] != 2:
        raise UserError(f"{job.source}: streams of shape {stems.shape}, expected 5 stereo streams of one length")
    promised = round(info.duration(0) * rate)
    if stems.shape[1] < promised - _AAC_FRAME:
        raise UserError(f"{job.source}: cut off, {stems.shape[1]} of {promised} samples; download it again")
    loud = bool(np.abs(stems).max() >= 1.0)
    partial = Path(tempfile.mkdtemp(prefix=PARTIAL, dir=job.target.parent))
    try:
        for name, audio in zip(STREAMS, stems, strict=True):
            soundfile.write(partial / f"{name}.wav", audio, round(rate), subtype="FLOAT" if loud else "PCM_16")
        partial.chmod(0o755)  # mkdtemp keeps others out
        partial.rename(job.target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return loud

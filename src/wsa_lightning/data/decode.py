"""Decodes MUSDB18's compressed tracks (``.stem.mp4``, five AAC streams) into the layout of MUSDB18-HQ.

Only this file imports stempeg, musdb's reader, and with it ffmpeg: training never decodes. stempeg is asked for
floats; musdb asks for 16 bits, for which ffmpeg silently clips AAC's overshoots.
"""

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from wsa_lightning.data.folders import remove_partial_tracks, write_track
from wsa_lightning.errors import UserError

STREAMS = ("mixture", "drums", "bass", "other", "vocals")
_SUFFIX = ".stem.mp4"
_AAC_FRAME = 1024


class Job(NamedTuple):
    """One track to decode: the compressed file and the folder of the WAV files."""

    source: Path
    target: Path


class Decoded(NamedTuple):
    """The result for one track: an error or None, and whether it exceeds full scale (and so is stored as float)."""

    error: str | None = None
    loud: bool = False


def find_jobs(root: Path, out: Path) -> list[Job]:
    """Every ``ROOT/{train,test}/NAME.stem.mp4`` and its folder ``OUT/{train,test}/NAME``.

    Raises:
        UserError: there is none, or OUT is ROOT.
    """
    found = [(subset, file) for subset in ("train", "test") for file in sorted((root / subset).glob(f"*{_SUFFIX}"))]
    if not found:
        raise UserError(f"{root} holds no {{train,test}}/*{_SUFFIX}: expected MUSDB18 as downloaded")
    if out.resolve() == root.resolve():
        raise UserError(f"OUT is ROOT ({out}): name another folder")
    return [Job(file, out / subset / file.name.removesuffix(_SUFFIX)) for subset, file in found]


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
    """Decode in parallel threads, each of which waits for its ffmpeg; yields in order of completion."""
    stempeg = import_stempeg()
    for root in {job.target.parents[1] for job in jobs}:
        remove_partial_tracks(root)
    with ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(decode_track, job, stempeg) for job in jobs]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def decode_track(job: Job, stempeg: Any) -> Decoded:
    """Decode one track: 16-bit like MUSDB18-HQ, or 32-bit float where 16 bits would clip, as AAC can overshoot."""
    try:
        return Decoded(loud=_decode(job, stempeg))
    except UserError as error:
        return Decoded(str(error))
    except (Exception, Warning) as error:  # the failures of ffmpeg and stempeg have no common type
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
        return Decoded(f"{job.source}: cannot be decoded ({reason}); download it again")


def _decode(job: Job, stempeg: Any) -> bool:
    info = stempeg.Info(str(job.source))
    stems, rate = stempeg.read_stems(str(job.source), info=info, dtype=np.float32, ffmpeg_format="f32le")  # (5, N, 2)
    if stems.ndim != 3 or stems.shape[0] != len(STREAMS) or stems.shape[2] != 2:
        raise UserError(f"{job.source}: streams of shape {stems.shape}, expected 5 stereo streams of one length")
    expected = round(info.duration(0) * rate)
    if stems.shape[1] < expected - _AAC_FRAME:
        raise UserError(f"{job.source}: truncated, {stems.shape[1]} of {expected} samples; download it again")
    loud = bool(np.abs(stems).max() >= 1.0)
    signals = dict(zip(STREAMS, stems, strict=True))
    write_track(job.target, signals, round(rate), subtype="FLOAT" if loud else "PCM_16")
    return loud

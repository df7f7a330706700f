"""Reads audio files piece by piece: with libsndfile where it supports the format, with ffmpeg for m4a and mp4."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from wsa_lightning.data.tracks import lost_bytes
from wsa_lightning.errors import UserError

Pieces = Iterator[NDArray[np.float32]]

BY_SOUNDFILE = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".caf", ".w64", ".rf64")
BY_FFMPEG = (".m4a", ".mp4", ".m4b", ".aac", ".mov")
SUFFIXES = BY_SOUNDFILE + BY_FFMPEG
PIECE = 1 << 17
OGG_PAGE = 65307  # bytes, at most


@dataclass(frozen=True)
class Audio:
    """An open file.

    Attributes:
        sample_rate: in Hz.
        channels: their number.
        samples: per channel, from the header; approximate for MPEG-4, where only decoding gives the exact number.
        pieces: the audio, (any, channels) each.
    """

    sample_rate: int
    channels: int
    samples: int
    pieces: Pieces


@contextmanager
def open_audio(path: Path) -> Iterator[Audio]:
    """Open a file by its content; its suffix does not matter.

    Raises:
        UserError: it is not readable audio, is truncated or empty, or needs ffmpeg, which is not installed; while
            reading, if it ends earlier than its header says.
    """
    if not path.is_file():
        raise UserError("a folder, expected an audio file" if path.is_dir() else "no such file")
    if path.stat().st_size == 0:
        raise UserError("an empty file, expected audio: copy or export it again")
    if _is_mpeg4(path):
        yield _ffmpeg(path)
        return
    try:
        file = soundfile.SoundFile(path)
    except soundfile.LibsndfileError as error:
        # For random bytes in a file named mp3, libsndfile reports that the file does not exist.
        reason = "Format not recognised" if "not exist" in error.error_string else error.error_string.rstrip(".")
        raise UserError(f"not readable as audio ({reason}): copy or export it again") from None
    with file:
        if lost := lost_bytes(path):
            raise UserError(f"truncated, {lost} bytes fewer than its header says: copy it again")
        if not _ogg_is_whole(path):
            raise UserError("truncated, its last Ogg page is not marked as the last: copy it again, or convert it")
        if file.frames == 0:
            raise UserError("0 samples, expected at least one: export it again")
        yield Audio(file.samplerate, file.channels, file.frames, _read(file))


def _read(file: soundfile.SoundFile) -> Pieces:
    samples = 0
    try:
        while len(piece := file.read(PIECE, dtype="float32", always_2d=True)):
            samples += len(piece)
            yield piece
    except soundfile.LibsndfileError as error:
        raise UserError(
            f"damaged after {samples / file.samplerate:.1f} s ({error.error_string.rstrip('.')}): copy it again"
        ) from None
    if samples < file.frames:
        raise UserError(
            f"truncated: {samples / file.samplerate:.1f} s of the {file.frames / file.samplerate:.1f} s "
            "that its header says: copy it again"
        )


def _ogg_is_whole(path: Path) -> bool:
    """Whether the last page of an Ogg file is marked as the last (RFC 3533); True for other files."""
    with path.open("rb") as file:
        if file.read(4) != b"OggS":
            return True
        file.seek(max(0, path.stat().st_size - OGG_PAGE))
        end = file.read()
    flags = end.rfind(b"OggS") + 5
    return flags < len(end) and bool(end[flags] & 4)


def _is_mpeg4(path: Path) -> bool:
    """Whether a file is MPEG-4 or raw AAC, which libsndfile cannot read."""
    with path.open("rb") as file:
        start = file.read(12)
    return start[4:8] == b"ftyp" or (path.suffix.lower() == ".aac" and start[:1] == b"\xff")


def _ffmpeg(path: Path) -> Audio:
    missing = [program for program in ("ffmpeg", "ffprobe") if shutil.which(program) is None]
    if missing:
        raise UserError(
            f"MPEG-4 audio, which needs {' and '.join(missing)} on the PATH: install ffmpeg, or convert it to flac"
        )
    entries = "stream=sample_rate,channels:format=duration"
    probe = ["ffprobe", "-v", "error", "-select_streams", "a:0", "-show_entries", entries]
    found = subprocess.run([*probe, "-of", "json", f"file:{path}"], capture_output=True, text=True, check=False)
    about = json.loads(found.stdout or "{}")
    if found.returncode:
        raise UserError(f"ffprobe cannot read it ({_last_line(found.stderr)}): copy or export it again")
    if not about.get("streams"):
        raise UserError("no audio stream: export it again with its sound")
    rate, channels = (int(about["streams"][0][key]) for key in ("sample_rate", "channels"))
    seconds = float(about["format"].get("duration", 0))
    return Audio(rate, channels, round(seconds * rate), _decoded(path, channels))


def _decoded(path: Path, channels: int) -> Pieces:
    """Decode with ffmpeg, which is stopped if the iterator is closed early."""
    quiet = ["ffmpeg", "-v", "error", "-xerror", "-nostdin"]
    command = [*quiet, "-i", f"file:{path}", "-map", "0:a:0", "-f", "f32le", "-"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        samples = 0
        try:
            while piece := process.stdout.read(PIECE * channels * 4):
                samples += len(piece) // (4 * channels)
                yield np.frombuffer(piece, np.float32).reshape(-1, channels)
            message = process.stderr.read().decode(errors="replace")
        finally:
            process.kill()
    if message.strip() or samples == 0:
        raise UserError(f"ffmpeg cannot decode it ({_last_line(message)}): copy or export it again")


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1][-160:] if lines else "no message"

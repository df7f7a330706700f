"""A song on disk, in the MUSDB18-HQ layout: ``ROOT/{train,test}/SONG/{mixture,drums,bass,other,vocals}.wav``.

Headers are checked once, when a song is opened; samples are read later, by seeking, and only where asked.
"""

import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import soundfile
from numpy.typing import NDArray

from wsa_lightning.errors import UserError

SOURCES = ("vocals", "drums", "bass", "other")
INSTRUMENTAL = ("drums", "bass", "other")
STEMS = (*SOURCES, "instrumental")
Subset = Literal["train", "test"]

_PARTS = {stem: (stem,) for stem in ("mixture", *SOURCES)} | {"instrumental": INSTRUMENTAL}
_CHANNELS = 2
_LISTED = 5
# Other formats state a length that only decoding to the end can prove, and allocate by it.
_FORMATS = ("WAV", "WAVEX", "RF64")
# Programs that write to a pipe cannot know the length and leave a placeholder of about 2 or 4 GiB.
_STREAMED = 0x7FFF_F000


class UnreadableError(UserError):
    """A file that was fine when its song was opened, and now is missing, cut off or not audio."""


@dataclass(frozen=True)
class Track:
    """A song whose files were found to agree.

    ``sample_rate`` is in hertz; ``samples`` is the length of every stem, per channel.
    """

    name: str
    folder: Path
    sample_rate: int
    samples: int

    def read(self, stem: str, start: int, stop: int) -> NDArray[np.float32]:
        """Samples ``start`` to ``stop`` (exclusive) of ``mixture`` or of one of ``STEMS``: (2, stop - start).

        ``instrumental`` is the sum of drums, bass and other.

        Raises:
            UnreadableError: a file cannot be read, is shorter than its header said, is not stereo or holds
                NaN or infinity.
            UserError: no stem has that name.
            ValueError: the range does not lie within the song.
        """
        if stem != "mixture":
            check_stems([stem])
        if not 0 <= start <= stop <= self.samples:
            raise ValueError(f"samples {start} to {stop} of {self.name!r}, which has {self.samples}")
        first, *rest = (_read_wav(self.folder / f"{part}.wav", start, stop) for part in _PARTS[stem])
        for audio in rest:
            first += audio
        return np.ascontiguousarray(first.T)


def check_stems(stems: Sequence[str]) -> None:
    """Raise a ``UserError`` unless ``stems`` names at least one stem, each known and none twice."""
    known = ", ".join(STEMS)
    if not stems:
        raise UserError(f"no stems are named; choose from: {known}")
    for stem in stems:
        if stem not in STEMS:
            raise UserError(f"unknown stem {stem!r}; known stems: {known}")
    if len(set(stems)) < len(stems):
        raise UserError(f"stems {', '.join(stems)}: one is named twice; name each stem once")


def open_track(folder: Path, sample_rate: int = 44100) -> Track:
    """Check the headers of a song's five files and return the song; no audio is decoded.

    Raises:
        UserError: a file is missing, unreadable, truncated, empty or not stereo, its rate is not
            ``sample_rate`` (hertz), or its length differs from the mixture's.
    """
    names = [f"{stem}.wav" for stem in ("mixture", *SOURCES)]
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise UserError(
            f"{folder}: {', '.join(missing)} missing; expected {', '.join(names)}, found {_listing(folder)}; "
            "add what is missing or move the folder away"
        )
    lengths = {name: _checked_length(folder / name, sample_rate) for name in names}
    samples = lengths["mixture.wav"]
    for name, length in lengths.items():
        if length != samples:
            raise UserError(
                f"{folder / name}: {length} samples, but mixture.wav has {samples}; cut or pad the stems to one length"
            )
    return Track(folder.name, folder, sample_rate, samples)


def find_tracks(
    root: Path, subset: Subset, sample_rate: int = 44100, *, refused: dict[str, str] | None = None
) -> list[Track]:
    """Open every song folder of ``root/subset``, sorted by name; hidden folders and loose files are skipped.

    With ``refused`` given, a song that ``open_track`` refuses is entered there, name to message, and left out; it
    is an error only if no song remains.

    Raises:
        UserError: the folder is missing or holds no song (the message says what was found instead),
            or ``open_track`` refuses a song.
    """
    layout = f"{root}/{subset}/SONG/mixture.wav and its stems"
    if not root.is_dir():
        kind = "is a file, not a folder" if root.exists() else "does not exist"
        raise UserError(f"{root} {kind}; looked for {layout}; set data.root to the folder that holds {subset}/")
    folder = root / subset
    for entry in _visible(folder):
        if entry.is_symlink() and not entry.exists():
            raise UserError(f"{entry} is a link that leads nowhere or to itself; remove it")
    songs = sorted(entry for entry in _visible(folder) if entry.is_dir())
    if songs:
        return _open_all(songs, sample_rate, refused)
    if compressed := next((f for place in (folder, root) for f in _visible(place, "*.stem.mp4")), None):
        raise UserError(
            f"{compressed}: the compressed MUSDB18 layout (.stem.mp4), expected MUSDB18-HQ: {layout}; "
            "convert the songs to WAV first, or get MUSDB18-HQ"
        )
    looked_in = folder if folder.is_dir() else root
    raise UserError(
        f"{folder}: no songs; looked for {layout}, found in {looked_in}: {_listing(looked_in)}; "
        f"set data.root to the folder that holds {subset}/"
    )


def _open_all(songs: Sequence[Path], sample_rate: int, refused: dict[str, str] | None) -> list[Track]:
    tracks = []
    for number, song in enumerate(songs):
        try:
            tracks.append(open_track(song, sample_rate))
        except UserError as error:
            if refused is None or (number == len(songs) - 1 and not tracks):
                raise
            refused[song.name] = str(error)
    return tracks


def _checked_length(path: Path, sample_rate: int) -> int:
    try:
        header = soundfile.info(path)
    except soundfile.LibsndfileError as error:
        raise _unreadable(path, error) from error
    if header.format not in _FORMATS:
        raise UserError(f"{path}: {header.format} audio under the name of a WAV file; convert it to WAV")
    if lost := lost_bytes(path):
        raise UserError(f"{path}: truncated, {lost} of the bytes its header promises are missing; copy it again")
    _check_stereo(path, header.channels)
    if header.samplerate != sample_rate:
        raise UserError(f"{path}: {header.samplerate} Hz, expected {sample_rate} Hz; resample the song")
    if header.frames == 0:
        raise UserError(f"{path}: 0 samples, expected audio; copy the file again or move the song away")
    return int(header.frames)


def lost_bytes(path: Path) -> int:
    """How many bytes of audio the RIFF header promises beyond the end of the file.

    libsndfile shortens such a song without a word, so the chunks are walked here.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        riff = file.read(12)
        if riff[:4] != b"RIFF" or riff[8:] != b"WAVE":
            return 0
        while len(header := file.read(8)) == 8:
            tag, length = struct.unpack("<4sI", header)
            if tag == b"data":
                return 0 if length >= _STREAMED else max(0, file.tell() + length - size)
            file.seek(length + length % 2, os.SEEK_CUR)
    return 0


def _read_wav(path: Path, start: int, stop: int) -> NDArray[Any]:
    try:
        audio, _ = soundfile.read(path, start=start, stop=stop, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise _unreadable(path, error) from error
    _check_stereo(path, audio.shape[1])
    if len(audio) != stop - start:
        raise UnreadableError(
            f"{path}: {len(audio)} samples read from {start}, expected {stop - start}; "
            "the file is truncated: copy it again"
        )
    if not np.isfinite(audio).all():
        raise UnreadableError(
            f"{path}: NaN or infinity between samples {start} and {stop}, expected finite audio; "
            "export the file again or move the song away"
        )
    return np.asarray(audio)


def _check_stereo(path: Path, channels: int) -> None:
    if channels != _CHANNELS:
        kind = "1 channel (mono)" if channels == 1 else f"{channels} channels"
        raise UnreadableError(f"{path}: {kind}, two channels are expected; convert the file to stereo")


def _unreadable(path: Path, error: soundfile.LibsndfileError) -> UnreadableError:
    reason = error.error_string.rstrip(".")
    return UnreadableError(f"{path}: cannot be read ({reason}), expected a WAV file; copy or export it again")


def _visible(folder: Path, pattern: str = "*") -> list[Path]:
    return sorted(entry for entry in folder.glob(pattern) if not entry.name.startswith("."))


def _listing(folder: Path) -> str:
    names = [entry.name for entry in _visible(folder)]
    rest = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return (", ".join(names[:_LISTED]) or "nothing") + rest

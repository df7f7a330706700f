"""A track on disk, in the MUSDB18-HQ layout: ``ROOT/{train,test}/TRACK/{mixture,drums,bass,other,vocals}.wav``.

Headers are checked once, when a track is opened. Samples are read later, by seeking, and only those needed.
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
SIGNALS = ("mixture", *SOURCES)
"""What a track has a file of."""
PARTS = {name: (name,) for name in SIGNALS} | {"instrumental": INSTRUMENTAL}
"""The files that sum to a signal."""
Subset = Literal["train", "test"]

_CHANNELS = 2
_LISTED = 5
# The headers of other formats state a length that only decoding can verify, and libsndfile allocates that much.
_FORMATS = ("WAV", "WAVEX", "RF64")
# Programs that write to a pipe do not know the length, and write a placeholder of about 2 or 4 GiB.
_STREAMED = 0x7FFF_F000


class UnreadableError(UserError):
    """A file passed the checks when its track was opened, and now is missing, truncated or not audio."""


@dataclass(frozen=True)
class Track:
    """A track whose files agree in length, sample rate and channels.

    Attributes:
        name: of its folder; unique within a subset.
        folder: with the five files.
        sample_rate: in Hz.
        samples: length of every file, per channel.
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
            ValueError: the range does not lie within the track.
        """
        if stem != "mixture":
            check_stems([stem])
        if not 0 <= start <= stop <= self.samples:
            raise ValueError(f"samples {start} to {stop} of {self.name!r}, which has {self.samples}")
        first, *rest = (_read_wav(self.folder / f"{part}.wav", start, stop) for part in PARTS[stem])
        for audio in rest:
            first += audio
        return np.ascontiguousarray(first.T)

    def content_id(self) -> str:
        """A text that differs once a file of the track was changed: place, size and time of change of each."""
        paths = sorted(self.folder.resolve().glob("*.wav"))
        return repr([(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in paths])


def check_stems(stems: Sequence[str]) -> None:
    """Raise a ``UserError`` unless ``stems`` names at least one stem, each known and none twice."""
    known = ", ".join(STEMS)
    if not stems:
        raise UserError(f"no stems given; known stems: {known}")
    for stem in stems:
        if stem not in STEMS:
            raise UserError(f"unknown stem {stem!r}; known stems: {known}")
    if len(set(stems)) < len(stems):
        raise UserError(f"stems {', '.join(stems)}: one is named twice; name each stem once")


def open_track(folder: Path, sample_rate: int = 44100) -> Track:
    """Check the headers of a track's five files; no audio is decoded.

    Raises:
        UserError: a file is missing, unreadable, truncated, empty or not stereo, its rate is not
            ``sample_rate`` (in Hz), or its length differs from the mixture's.
    """
    names = [f"{name}.wav" for name in SIGNALS]
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise UserError(
            f"{folder}: {', '.join(missing)} missing; expected {', '.join(names)}, found {_listing(folder)}; "
            "add the missing files or move the folder away"
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
    """Open every track of ``root/subset``, sorted by name; hidden folders and loose files are ignored.

    Args:
        root: the dataset.
        subset: ``train`` or ``test``.
        sample_rate: expected, in Hz.
        refused: if given, receives the name and the error message of every track that ``open_track`` refuses. Such
            a track is then left out, and is an error only if no other remains.

    Raises:
        UserError: the folder is missing or has no track (the message says what was found instead),
            or ``open_track`` refuses a track.
    """
    layout = f"{root}/{subset}/TRACK/mixture.wav and its stems"
    if not root.is_dir():
        kind = "is a file, not a folder" if root.exists() else "does not exist"
        raise UserError(f"{root} {kind}; looked for {layout}; set data.root to the folder that holds {subset}/")
    folder = root / subset
    for entry in _visible(folder):
        if entry.is_symlink() and not entry.exists():
            raise UserError(f"{entry} is a broken link or a link to itself; remove it")
    tracks = [entry for entry in _visible(folder) if entry.is_dir()]
    if tracks:
        return _open_all(tracks, sample_rate, refused)
    if compressed := next((f for place in (folder, root) for f in _visible(place, "*.stem.mp4")), None):
        raise UserError(
            f"{compressed}: the compressed MUSDB18 layout (.stem.mp4), expected MUSDB18-HQ: {layout}; "
            "decode it to WAV with the command `data decode`, or get MUSDB18-HQ"
        )
    looked_in = folder if folder.is_dir() else root
    raise UserError(
        f"{folder}: no tracks; looked for {layout}, found in {looked_in}: {_listing(looked_in)}; "
        f"set data.root to the folder that holds {subset}/"
    )


def _open_all(folders: Sequence[Path], sample_rate: int, refused: dict[str, str] | None) -> list[Track]:
    tracks = []
    for folder in folders:
        try:
            tracks.append(open_track(folder, sample_rate))
        except UserError as error:
            if refused is None or (folder == folders[-1] and not tracks):
                raise
            refused[folder.name] = str(error)
    return tracks


def _checked_length(path: Path, sample_rate: int) -> int:
    try:
        header = soundfile.info(path)
    except soundfile.LibsndfileError as error:
        raise _unreadable(path, error) from error
    if header.format not in _FORMATS:
        raise UserError(f"{path}: {header.format} audio, expected WAV; convert it to WAV")
    if lost := lost_bytes(path):
        raise UserError(f"{path}: truncated, {lost} bytes fewer than its header says; copy it again")
    _check_stereo(path, header.channels)
    if header.samplerate != sample_rate:
        raise UserError(f"{path}: {header.samplerate} Hz, expected {sample_rate} Hz; resample the track")
    if header.frames == 0:
        raise UserError(f"{path}: 0 samples, expected audio; copy the file again or move the track away")
    return int(header.frames)


def lost_bytes(path: Path) -> int:
    """How many bytes of audio a WAV file lacks of those that its RIFF header states; 0 for other files.

    libsndfile silently reads such a file as a shorter one, so the chunks are walked here.
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
            "export the file again or move the track away"
        )
    return np.asarray(audio)


def _check_stereo(path: Path, channels: int) -> None:
    if channels != _CHANNELS:
        kind = "1 channel (mono)" if channels == 1 else f"{channels} channels"
        raise UnreadableError(f"{path}: {kind}, expected two channels; convert the file to stereo")


def _unreadable(path: Path, error: soundfile.LibsndfileError) -> UnreadableError:
    reason = error.error_string.rstrip(".")
    return UnreadableError(f"{path}: cannot be read ({reason}), expected a WAV file; copy or export it again")


def _visible(folder: Path, pattern: str = "*") -> list[Path]:
    return sorted(entry for entry in folder.glob(pattern) if not entry.name.startswith("."))


def _listing(folder: Path) -> str:
    names = [entry.name for entry in _visible(folder)]
    rest = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return (", ".join(names[:_LISTED]) or "nothing") + rest

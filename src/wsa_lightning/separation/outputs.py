"""Stems on disk: written under temporary names, and renamed when all of them are complete."""

import contextlib
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal

import numpy as np
import soundfile
from numpy.typing import NDArray

from wsa_lightning.errors import UserError

Container = Literal["wav", "flac"]
Subtype = Literal["PCM_16", "PCM_24", "FLOAT"]
WAV_LIMIT = 4_000_000_000  # bytes; WAV stores sizes as 32-bit numbers
FULL = 1_000_000  # bytes free; below this, any error is reported as a full disk
_BYTES = {"PCM_16": 2, "PCM_24": 3, "FLOAT": 4}


@dataclass(frozen=True)
class StemFormat:
    """How stems are stored: the container, and libsndfile's name for the samples' type.

    Raises:
        UserError: flac cannot store FLOAT.
    """

    format: Container = "wav"
    subtype: Subtype = "PCM_16"

    def __post_init__(self) -> None:
        if self.format == "flac" and self.subtype == "FLOAT":
            raise UserError("format flac cannot store subtype FLOAT: use subtype PCM_24, or format wav")

    def path(self, folder: Path, stem: str) -> Path:
        """The file of a stem in the folder of a song."""
        return folder / f"{stem}.{self.format}"


@dataclass
class Level:
    """The peak of a written stem (1 is full scale), and how many of its samples an integer format clipped."""

    peak: float = 0.0
    clipped: int = 0


class StemFiles:
    """The files of one song's stems, open for writing; a context manager after which all of them exist, or none.

    Args:
        folder: of the song; made if needed, and removed again on failure.
        stems: their names.
        form: how they are stored.
        sample_rate: in Hz.
        channels: of each stem.
        samples: expected number per channel; a WAV file of more than 4 GB is written as RF64.
        comment: written into the files' comment field.
    """

    def __init__(
        self,
        folder: Path,
        stems: tuple[str, ...],
        form: StemFormat,
        sample_rate: int,
        channels: int,
        samples: int,
        comment: str = "",
    ) -> None:
        large = form.format == "wav" and samples * channels * _BYTES[form.subtype] > WAV_LIMIT
        self.folder, self.form, self.comment = folder, form, comment
        self.levels = {stem: Level() for stem in stems}
        self._container = "RF64" if large else form.format.upper()
        self._rate, self._channels = sample_rate, channels
        self._made: list[Path] = []
        self._files: dict[str, soundfile.SoundFile] = {}

    def __enter__(self) -> "StemFiles":
        try:
            self._made = [path for path in (self.folder, *self.folder.parents) if not path.exists()]
            self.folder.mkdir(parents=True, exist_ok=True)
            for stem in self.levels:
                self._files[stem] = file = soundfile.SoundFile(
                    self._temporary(stem), "w", self._rate, self._channels, self.form.subtype, format=self._container
                )
                if self.comment:
                    file.comment = self.comment
        except (OSError, soundfile.LibsndfileError) as error:
            self._discard()
            raise self._unwritable(error) from None
        return self

    def write(self, stems: NDArray[np.float32]) -> None:
        """Append (samples, stems, channels).

        Raises:
            UserError: the disk is full, or the files cannot be written for another reason.
        """
        for index, (stem, level) in enumerate(self.levels.items()):
            audio = stems[:, index]
            magnitude = np.abs(audio)
            level.peak = max(level.peak, float(magnitude.max(initial=0)))
            if self.form.subtype != "FLOAT":
                level.clipped += int((magnitude > 1).sum())
            try:
                self._files[stem].write(audio)
            except (OSError, soundfile.LibsndfileError, AssertionError) as error:  # soundfile asserts full writes
                raise self._unwritable(error) from None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None:
            self._discard()
            return
        try:
            for file in self._files.values():
                file.close()
            for stem in self.levels:
                self._temporary(stem).replace(self.form.path(self.folder, stem))
        except (OSError, soundfile.LibsndfileError) as failure:
            self._discard()
            raise self._unwritable(failure) from None

    def _discard(self) -> None:
        """Close the files, and remove everything that was made here."""
        for file in self._files.values():
            with contextlib.suppress(OSError, soundfile.LibsndfileError):
                file.close()
        for stem in self.levels:
            with contextlib.suppress(OSError):
                self._temporary(stem).unlink()
        for folder in self._made:
            with contextlib.suppress(OSError):
                folder.rmdir()

    def _temporary(self, stem: str) -> Path:
        return self.folder / f".{stem}.partial"

    def _unwritable(self, error: Exception) -> UserError:
        place = next(path for path in (self.folder, *self.folder.parents) if path.exists())
        free = shutil.disk_usage(place).free
        if free < FULL:
            return UserError(f"{self.folder} cannot be written: the disk is full. Make room, or choose another folder")
        reason = getattr(error, "strerror", None) or str(error).strip().rstrip(".") or "only a part could be written"
        return UserError(
            f"{self.folder} cannot be written ({reason}; {free / 1e6:,.0f} MB free): choose another folder"
        )


def missing_stems(
    folder: Path, stems: tuple[str, ...], form: StemFormat, comment: str, *, overwrite: bool
) -> tuple[str, ...]:
    """The stems that are not in the folder with this comment.

    Raises:
        UserError: a stem exists with another comment, and ``overwrite`` is false.
    """
    missing = []
    for stem in stems:
        path = form.path(folder, stem)
        if path.exists() and not overwrite:
            if (made := _comment_of(path)) == comment:
                continue
            raise UserError(
                f"{path} exists, made by {made or 'something else'!r}, not {comment!r}: "
                "pass --overwrite, or another --out"
            )
        missing.append(stem)
    return tuple(missing)


def _comment_of(path: Path) -> str | None:
    try:
        with soundfile.SoundFile(path) as file:
            return str(file.comment)
    except soundfile.LibsndfileError:
        return None


def check_out(out: Path) -> None:
    """Check that a folder can be written, before anything is computed.

    Raises:
        UserError: it is a file or below one, or cannot be written.
    """
    place = next(path for path in (out, *out.absolute().parents) if path.exists())
    if not place.is_dir():
        raise UserError(f"--out {out}: {place} is a file, expected a folder")
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise UserError(f"--out {out} cannot be written ({error.strerror}): choose another folder") from None

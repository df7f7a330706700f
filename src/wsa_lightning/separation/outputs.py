"""Stems on disk: written under a temporary name while they come, shown when all of them are whole."""

import contextlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, get_args

import numpy as np
import soundfile
from numpy.typing import NDArray

from wsa_lightning.errors import UserError

Format = Literal["wav", "flac"]
Subtype = Literal["PCM_16", "PCM_24", "FLOAT"]
WAV_LIMIT = 4_000_000_000  # bytes; its sizes are 32-bit numbers
_BYTES = {"PCM_16": 2, "PCM_24": 3, "FLOAT": 4}


@dataclass(frozen=True)
class StemFormat:
    """How stems are stored."""

    format: Format = "wav"
    subtype: Subtype = "PCM_16"

    def __post_init__(self) -> None:
        if self.format not in get_args(Format) or self.subtype not in get_args(Subtype):
            raise UserError(
                f"format {self.format}, subtype {self.subtype}: expected {' or '.join(get_args(Format))}, and "
                f"one of {', '.join(get_args(Subtype))}"
            )
        if self.format == "flac" and self.subtype == "FLOAT":
            raise UserError("flac holds no FLOAT samples: use subtype PCM_24, or format wav")

    def path(self, folder: Path, stem: str) -> Path:
        """Where a stem of a song belongs."""
        return folder / f"{stem}.{self.format}"


@dataclass
class Level:
    """What was written of a stem: its peak (1 is full scale), and how many samples an integer format cut off."""

    peak: float = 0.0
    clipped: int = 0


class StemFiles:
    """The files of one song's stems, open for writing; as a context they all appear, or none does.

    Args:
        folder: the song's; made if needed, and taken away again if nothing came into it.
        stems: their names.
        form: how they are stored.
        sample_rate: in Hz.
        channels: of each stem.
        samples: about how many are to come, per channel: beyond 4 GB a WAV file is written as RF64.
        comment: what is written into the files' comment field.
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
            UserError: the disk is full, or does not take it for another reason.
        """
        for index, (stem, level) in enumerate(self.levels.items()):
            audio = stems[:, index]
            magnitude = np.abs(audio)
            level.peak = max(level.peak, float(magnitude.max(initial=0)))
            if self.form.subtype != "FLOAT":
                level.clipped += int((magnitude > 1).sum())
            try:
                self._files[stem].write(audio)
            except (OSError, soundfile.LibsndfileError, AssertionError) as error:  # an assertion is a short write
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
        """Leave nothing behind that was not there before."""
        for file in self._files.values():
            with contextlib.suppress(OSError, soundfile.LibsndfileError):
                file.close()
        for stem in self.levels:
            self._temporary(stem).unlink(missing_ok=True)
        for folder in self._made:
            with contextlib.suppress(OSError):
                folder.rmdir()

    def _temporary(self, stem: str) -> Path:
        return self.folder / f".{stem}.partial"

    def _unwritable(self, error: Exception) -> UserError:
        reason = getattr(error, "strerror", None) or str(error).strip() or "the disk took only a part"
        place = next(path for path in (self.folder, *self.folder.parents) if path.exists())
        free = shutil.disk_usage(place).free / 1e6
        return UserError(f"{self.folder} cannot be written ({reason}; {free:,.0f} MB are free there): choose another")


def comment_of(path: Path) -> str | None:
    """What a file's comment field says; None where there is no such audio file."""
    try:
        with soundfile.SoundFile(path) as file:
            return str(file.comment)
    except soundfile.LibsndfileError:
        return None

"""The folder of a track: five WAV files that appear together or not at all."""

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import soundfile
from numpy.typing import NDArray

from wsa_lightning.data.tracks import SIGNALS
from wsa_lightning.errors import UserError

PARTIAL = ".partial-"


def is_track(folder: Path) -> bool:
    """Whether a folder holds all five files; ``write_track`` never leaves some of them."""
    return all((folder / f"{name}.wav").is_file() for name in SIGNALS)


def write_track(folder: Path, signals: Mapping[str, NDArray[Any]], sample_rate: int, subtype: str = "PCM_16") -> None:
    """Write the five WAV files under a temporary name, then rename the folder into place.

    If another process finishes the same track first, its files stay.

    Args:
        folder: of the track; its parents are made.
        signals: the mixture and the four sources by name, (N, 2) each.
        sample_rate: in Hz.
        subtype: how libsndfile stores the samples.

    Raises:
        UserError: the folder exists and is not a track.
        OSError: the disk is full, or the folder cannot be written.
    """
    if folder.exists() and not is_track(folder):
        names = ", ".join(f"{name}.wav" for name in SIGNALS)
        raise UserError(f"{folder} exists and is not a track ({names}); move it away or delete it")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=PARTIAL, dir=folder.parent))
    try:
        for name, samples in signals.items():
            soundfile.write(temporary / f"{name}.wav", samples, sample_rate, subtype=subtype)
        temporary.chmod(0o755)  # mkdtemp gives access to nobody else
        temporary.rename(folder)
    except (OSError, soundfile.SoundFileError):
        if not is_track(folder):
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_partial_tracks(root: Path) -> None:
    """Remove what killed processes left in ``root/{train,test}``.

    A process that is writing a track there fails, unless another one has finished the same track.
    """
    for partial in root.glob(f"*/{PARTIAL}*"):
        shutil.rmtree(partial, ignore_errors=True)

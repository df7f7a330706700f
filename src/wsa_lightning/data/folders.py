"""One song on disk: five WAV files in a folder that appears whole or not at all."""

import shutil
import tempfile
from pathlib import Path

import numpy as np
import soundfile

from wsa_lightning.data.songs.mixdown import STEMS, compose
from wsa_lightning.data.songs.sound import RATE
from wsa_lightning.errors import UserError

FILES = tuple(f"{stem}.wav" for stem in ("mixture", *STEMS))
PARTIAL = ".partial-"

_WORDS = (
    # first words
    """Amber Borrowed Crooked Distant Electric Faded Gentle Hollow Idle Jagged Kindred Lonely Marble Northern
    Open Paper Quiet Restless Silver Tangled Upper Velvet Wandering Yellow""",
    # last words
    """Arrows Bridge Candle Harbour Distance Engine Ferry Garden Horizon Island Journey Kite Lantern Meadow
    Night Orchard Parade River Station Tide Umbrella Valley Window Year""",
)
_FIRST, _LAST = (words.split() for words in _WORDS)


def song_name(seed: int, index: int) -> str:
    """Folder name of a song, such as "Song 000 - Quiet Harbour Lantern"."""
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, index, 1])))
    last = rng.choice(_LAST, size=int(rng.integers(1, 3)), replace=False)
    return f"Song {index:03d} - {' '.join([str(rng.choice(_FIRST)), *map(str, last)])}"


def is_song(folder: Path) -> bool:
    """Whether a folder holds all five files; `write_song` never shows one that is half written."""
    return all((folder / name).is_file() for name in FILES)


def write_song(folder: Path, seed: int, index: int, seconds: float) -> None:
    """Compose a song and write it as 16-bit WAV files, mixture and four stems.

    The files are written beside the folder and renamed into place. A folder that holds a song already is
    left as it is, also where another process finished it in the meantime.

    Raises:
        UserError: the folder exists and holds something else.
    """
    if is_song(folder):
        return
    if folder.exists():
        raise UserError(f"{folder} exists and is not a song ({', '.join(FILES)}); move it away or delete it")
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=PARTIAL, dir=folder.parent))
    try:
        for stem, samples in compose(seed, index, seconds).items():
            soundfile.write(partial / f"{stem}.wav", samples, RATE, subtype="PCM_16")
        partial.chmod(0o755)  # mkdtemp keeps others out
        partial.rename(folder)
    except (OSError, soundfile.SoundFileError):
        if not is_song(folder):
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)

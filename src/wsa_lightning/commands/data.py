"""``data``: make a dataset."""

from pathlib import Path

from wsa_lightning.data.songs import make_songs
from wsa_lightning.errors import UserError

TEST_SHARE = 8


def make(root: Path, *, songs: int = 64, seconds: float = 12.0, seed: int = 0) -> None:
    """Compose songs into ROOT in the MUSDB18-HQ layout; one in eight is a test song.

    Args:
        root: folder to fill; it must be absent, empty, or begun by the same command.
        songs: how many songs, train and test together.
        seconds: length of each song.
        seed: another seed, other songs.
    """
    if songs < 3:
        raise UserError(f"--songs is {songs}: expected at least 3, one each to train, validate and test")
    if seconds <= 0:
        raise UserError(f"--seconds is {seconds}: expected more than 0")
    if seed < 0:
        raise UserError(f"--seed is {seed}: expected 0 or more")
    test = max(1, songs // TEST_SHARE)
    make_songs(root, train=songs - test, test=test, seconds=seconds, seed=seed)
    print(f"{songs - test} train and {test} test songs of {seconds:g} s in {root}")

"""Songs for training without a download, composed and synthesized on the spot."""

from .files import song_name, write_song
from .library import (
    SECONDS,
    SEED,
    TEST_SONGS,
    TRAIN_SONGS,
    VERSION,
    embedded_root,
    is_complete,
    make_songs,
)
from .mixdown import STEMS, compose

__all__ = [
    "SECONDS",
    "SEED",
    "STEMS",
    "TEST_SONGS",
    "TRAIN_SONGS",
    "VERSION",
    "compose",
    "embedded_root",
    "is_complete",
    "make_songs",
    "song_name",
    "write_song",
]

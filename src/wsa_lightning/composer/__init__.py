"""Songs for training without a download, composed and synthesized on the spot."""

from wsa_lightning.data.songs.files import song_name, write_song
from wsa_lightning.data.songs.library import (
    SECONDS,
    SEED,
    TEST_SONGS,
    TRAIN_SONGS,
    VERSION,
    embedded_root,
    is_complete,
    make_songs,
)
from wsa_lightning.data.songs.mixdown import STEMS, compose

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

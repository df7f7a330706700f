"""What is borrowed from the composer of the embedded songs; the only file here that imports it."""

from wsa_lightning.data.songs.band import BASS_LINES, COMPING, GROOVES
from wsa_lightning.data.songs.files import song_name
from wsa_lightning.data.songs.harmony import MODES, PROGRESSIONS, Harmony
from wsa_lightning.data.songs.melody import Syllable
from wsa_lightning.data.songs.mixdown import STEMS
from wsa_lightning.data.songs.score import Hit, Note
from wsa_lightning.data.songs.sound import RATE
from wsa_lightning.data.songs.voice import sing as sing_formants

__all__ = [
    "BASS_LINES",
    "COMPING",
    "GROOVES",
    "MODES",
    "PROGRESSIONS",
    "RATE",
    "STEMS",
    "Harmony",
    "Hit",
    "Note",
    "Syllable",
    "sing_formants",
    "song_name",
]

"""What is borrowed from the composer of the embedded songs; the only file here that imports it."""

from wsa_lightning.composer.band import BASS_LINES, COMPING, GROOVES
from wsa_lightning.composer.harmony import MODES, PROGRESSIONS, Harmony
from wsa_lightning.composer.melody import Syllable
from wsa_lightning.composer.mixdown import STEMS
from wsa_lightning.composer.score import Hit, Note
from wsa_lightning.composer.sound import RATE
from wsa_lightning.composer.titles import title
from wsa_lightning.composer.voice import sing as sing_formants

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
    "title",
]

"""Floor 3: separation metrics, plain functions first, torchmetrics classes on top; see docs/metrics.md."""

from wsa_lightning.metrics.activity import leakage, usdr_active
from wsa_lightning.metrics.definitions import DEFINITIONS, Definition
from wsa_lightning.metrics.energy import si_sdr, usdr
from wsa_lightning.metrics.frames import csdr, csdr_frames
from wsa_lightning.metrics.paired import Difference, paired_difference
from wsa_lightning.metrics.per_song import ScoresPerSong, SongScores, UsdrPerSong
from wsa_lightning.metrics.song import score_song
from wsa_lightning.metrics.spectrum import bleedless, bleedless_and_fullness, fullness, l1_freq

__all__ = [
    "DEFINITIONS",
    "Definition",
    "Difference",
    "ScoresPerSong",
    "SongScores",
    "UsdrPerSong",
    "bleedless",
    "bleedless_and_fullness",
    "csdr",
    "csdr_frames",
    "fullness",
    "l1_freq",
    "leakage",
    "paired_difference",
    "score_song",
    "si_sdr",
    "usdr",
    "usdr_active",
]

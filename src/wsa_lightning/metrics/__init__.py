"""Separation metrics as plain functions, and as torchmetrics classes; see docs/metrics.md."""

from wsa_lightning.metrics.activity import leakage, usdr_active
from wsa_lightning.metrics.definitions import DEFINITIONS, Definition, Signals
from wsa_lightning.metrics.energy import si_sdr, usdr
from wsa_lightning.metrics.frames import csdr, csdr_frames
from wsa_lightning.metrics.paired import Difference, paired_difference
from wsa_lightning.metrics.per_track import ScoresPerTrack, TrackScores, UsdrPerTrack
from wsa_lightning.metrics.scoring import score_track
from wsa_lightning.metrics.spectrum import bleedless, bleedless_and_fullness, fullness, l1_freq

__all__ = [
    "DEFINITIONS",
    "Definition",
    "Difference",
    "ScoresPerTrack",
    "Signals",
    "TrackScores",
    "UsdrPerTrack",
    "bleedless",
    "bleedless_and_fullness",
    "csdr",
    "csdr_frames",
    "fullness",
    "l1_freq",
    "leakage",
    "paired_difference",
    "score_track",
    "si_sdr",
    "usdr",
    "usdr_active",
]

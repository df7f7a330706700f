"""What every figure of ``test`` means, in one line each, as it is written beside the scores."""

from dataclasses import dataclass
from typing import Literal

MEDIAN = "median over songs (NaN left out), then mean over stems; the mean over songs stands beside it"


@dataclass(frozen=True)
class Definition:
    """A metric in words: unit, direction, formula, aggregation."""

    unit: str
    better: Literal["higher", "lower"]
    text: str
    aggregation: str = MEDIAN


DEFINITIONS = {
    "usdr": Definition(
        "dB", "higher", "10 log10((sum s² + 1e-8) / (sum (s - e)² + 1e-8)) over channels and whole song"
    ),
    "csdr": Definition(
        "dB",
        "higher",
        "museval v4 SDR: median over 1-s frames of 10 log10(sum s² / sum (s - e)²); frames with a silent source left "
        "out; a single stem is scored beside its accompaniment",
    ),
    "si_sdr": Definition(
        "dB", "higher", "10 log10(sum (a s)² / sum (a s - e)²), a = sum e s / sum s², no mean removed"
    ),
    "l1_freq": Definition("0-100", "higher", "100 / (1 + 10 mean abs(|E| - |S|)), STFT 2048/1024, rectangular window"),
    "bleedless": Definition(
        "0-100", "higher", "100 / (1 + mean of positive d), d = mel level of estimate - target in dB"
    ),
    "fullness": Definition(
        "0-100", "higher", "100 / (1 - mean of negative d), d = mel level of estimate - target in dB"
    ),
    "usdr_active": Definition("dB", "higher", "uSDR over 0.25-s frames above -60 dB of the target's loudest frame"),
    "leakage": Definition(
        "dB", "lower", "10 log10(sum e² / sum x²), x = mixture, over the 0.25-s frames usdr_active leaves out"
    ),
}
"""The metrics by name, in the order of the columns."""

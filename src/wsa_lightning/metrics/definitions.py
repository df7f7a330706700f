"""The metrics of ``test``: how each is computed, and its definition in one line, which is written beside the scores."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from torch import Tensor

from wsa_lightning.metrics.activity import leakage, usdr_active
from wsa_lightning.metrics.energy import si_sdr, usdr
from wsa_lightning.metrics.spectrum import bleedless_and_fullness, l1_freq

MEDIAN = "median over songs (NaN left out), then mean over stems; the mean over songs stands beside it"


@dataclass(frozen=True)
class Signals:
    """What a metric of one stem is computed from.

    Attributes:
        estimate: (C, N).
        target: (C, N).
        mixture: (C, N).
        sample_rate: in Hz.
    """

    estimate: Tensor
    target: Tensor
    mixture: Tensor
    sample_rate: int

    @cached_property
    def bleedless_and_fullness(self) -> tuple[float, float]:
        """Both, computed once."""
        return bleedless_and_fullness(self.estimate, self.target, self.sample_rate)


@dataclass(frozen=True)
class Definition:
    """A metric.

    Attributes:
        unit: of the score.
        better: whether higher or lower scores are better.
        text: the formula.
        score: computes it for one stem; None for cSDR, which needs all stems at once (``score_track``).
        of_silence: whether it is defined for a silent target.
    """

    unit: str
    better: Literal["higher", "lower"]
    text: str
    score: Callable[[Signals], float] | None = None
    of_silence: bool = False

    def as_dict(self) -> dict[str, str]:
        """The definition in words."""
        return {"unit": self.unit, "better": self.better, "text": self.text, "aggregation": MEDIAN}


DEFINITIONS = {
    "usdr": Definition(
        "dB",
        "higher",
        "10 log10((sum s² + 1e-8) / (sum (s - e)² + 1e-8)) over channels and whole song",
        lambda signals: usdr(signals.estimate, signals.target),
    ),
    "csdr": Definition(
        "dB",
        "higher",
        "museval v4 SDR: median over 1-s frames of 10 log10(sum s² / sum (s - e)²); frames with a silent source left "
        "out; a single stem is scored beside its accompaniment",
    ),
    "si_sdr": Definition(
        "dB",
        "higher",
        "10 log10(sum (a s)² / sum (a s - e)²), a = sum e s / sum s², no mean removed",
        lambda signals: si_sdr(signals.estimate, signals.target),
    ),
    "l1_freq": Definition(
        "0-100",
        "higher",
        "100 / (1 + 10 mean abs(|E| - |S|)), STFT 2048/1024, rectangular window",
        lambda signals: l1_freq(signals.estimate, signals.target),
    ),
    "bleedless": Definition(
        "0-100",
        "higher",
        "100 / (1 + mean of positive d), d = mel level of estimate - target in dB",
        lambda signals: signals.bleedless_and_fullness[0],
    ),
    "fullness": Definition(
        "0-100",
        "higher",
        "100 / (1 - mean of negative d), d = mel level of estimate - target in dB",
        lambda signals: signals.bleedless_and_fullness[1],
    ),
    "usdr_active": Definition(
        "dB",
        "higher",
        "uSDR over 0.25-s frames above -60 dB of the target's loudest frame",
        lambda signals: usdr_active(signals.estimate, signals.target, signals.sample_rate),
    ),
    "leakage": Definition(
        "dB",
        "lower",
        "10 log10(sum e² / sum x²), x = mixture, over the 0.25-s frames usdr_active leaves out",
        lambda signals: leakage(signals.estimate, signals.target, signals.mixture, signals.sample_rate),
        of_silence=True,
    ),
}
"""The metrics by name, in the order of the columns; a new one may be added from outside."""

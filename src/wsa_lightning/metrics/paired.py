"""The difference between two models over the same tracks, with a bootstrap interval."""

from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import bootstrap

CONFIDENCE = 0.95
SEED = 0


@dataclass(frozen=True)
class Difference:
    """Paired differences over tracks.

    Attributes:
        mean: over tracks.
        low: lower end of the 95 % bootstrap interval of the mean; NaN for fewer than two tracks.
        high: upper end.
        median: of the differences.
        n: tracks for which both models have a finite score.
    """

    mean: float
    low: float
    high: float
    median: float
    n: int


def paired_difference(ours: ArrayLike, theirs: ArrayLike, resamples: int = 9999) -> Difference:
    """Difference of two models over the same tracks: ours - theirs, (tracks,) or (tracks, stems) each.

    With stems, the difference of a track is the mean over those for which both models have a finite score. A track
    without one is left out. Tracks are drawn with replacement ``resamples`` times (seed 0); the interval is the 2.5 %
    to 97.5 % quantile of the means (Efron's percentile interval, ``scipy.stats.bootstrap``).
    """
    difference = np.atleast_1d(np.asarray(ours, dtype=float) - np.asarray(theirs, dtype=float))
    difference = difference.reshape(len(difference), -1)  # (tracks, stems)
    difference = np.array([stems[np.isfinite(stems)].mean() for stems in difference if np.isfinite(stems).any()])
    n = len(difference)
    if n == 0:
        return Difference(nan, nan, nan, nan, 0)
    low = high = nan
    if n > 1:
        interval = bootstrap(
            (difference,),
            np.mean,
            n_resamples=resamples,
            confidence_level=CONFIDENCE,
            method="percentile",
            rng=np.random.default_rng(SEED),
        ).confidence_interval
        low, high = float(interval.low), float(interval.high)
    return Difference(float(difference.mean()), low, high, float(np.median(difference)), n)

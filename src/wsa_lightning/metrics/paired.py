"""Student minus teacher, song by song, with an interval."""

from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import bootstrap

CONFIDENCE = 0.95
SEED = 0


@dataclass(frozen=True)
class Difference:
    """Paired differences over songs.

    Attributes:
        mean: over songs.
        low: lower end of the 95 % bootstrap interval of the mean; NaN below two songs.
        high: upper end.
        median: of the differences.
        n: songs that both models have a figure for.
    """

    mean: float
    low: float
    high: float
    median: float
    n: int


def paired_difference(ours: ArrayLike, theirs: ArrayLike, resamples: int = 9999) -> Difference:
    """Difference of two models over the same songs: ours - theirs, (songs,) or (songs, stems) each.

    With stems, a song's difference is the mean over those that both models have a finite figure for.
    Songs are drawn with replacement ``resamples`` times (seed 0); the interval is the 2.5 % to 97.5 % quantile of
    the means (Efron's percentile interval, ``scipy.stats.bootstrap``). A song without a finite figure for both is
    left out.
    """
    difference = np.atleast_1d(np.asarray(ours, dtype=float) - np.asarray(theirs, dtype=float))
    difference = difference.reshape(len(difference), -1)  # (songs, stems)
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

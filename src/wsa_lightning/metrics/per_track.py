"""torchmetrics classes: scores per track, on any number of ranks, whichever rank had the track."""

import warnings
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from wsa_lightning.metrics.definitions import DEFINITIONS
from wsa_lightning.metrics.energy import decibels, energies
from wsa_lightning.metrics.scoring import NAN_FRAMES, check_metrics, score_track


class TrackScores(NamedTuple):
    """One metric over a set of tracks.

    Attributes:
        per_track: (tracks, stems), in NumPy because torchmetrics squeezes a tensor of one track and one stem; NaN if
            the metric is undefined (a silent target) or the track was not seen.
        median: over the tracks, then the mean over the stems; logged under the name of the metric.
        mean: over the tracks, then over the stems.
        silent: pairs of track and stem that are left out because the metric is undefined.
    """

    per_track: np.ndarray
    median: Tensor
    mean: Tensor
    silent: Tensor


class UsdrPerTrack(Metric):
    """uSDR of every track from chunks in any order, on any rank; used for validation.

    Energies are summed over all chunks of a track before they are converted to dB, so that quiet chunks have little
    weight. Then the median over tracks is taken. Tracks with a silent target have no SDR; they are counted separately.

    Args:
        tracks: number of tracks.
        stems: number of stems of each.
    """

    higher_is_better = True
    full_state_update = False
    signal: Tensor
    error: Tensor
    seen: Tensor

    def __init__(self, tracks: int, stems: int) -> None:
        super().__init__()
        for name in ("signal", "error"):
            self.add_state(name, torch.zeros(tracks, stems), dist_reduce_fx="sum")
        self.add_state("seen", torch.zeros(tracks, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, estimate: Tensor, target: Tensor, track: Tensor) -> None:
        """Add chunks (B, stems, C, N) of the tracks with the indices ``track`` (B,); negative ones are not counted."""
        counted = track >= 0
        track = track[counted]
        signal, error = energies(estimate[counted], target[counted])  # (B, stems)
        self.signal.index_add_(0, track, signal)
        self.error.index_add_(0, track, error)
        self.seen.index_add_(0, track, torch.ones_like(track))

    def compute(self) -> TrackScores:
        """The scores of all tracks seen so far."""
        seen = (self.seen > 0)[:, None]
        silent = seen & (self.signal == 0)
        per_track = decibels(self.signal, self.error).masked_fill(silent | ~seen, float("nan"))  # (tracks, stems)
        median, mean = per_track.nanquantile(0.5, dim=0).nanmean(), per_track.nanmean(0).nanmean()
        return TrackScores(per_track.cpu().numpy(), median, mean, silent.sum())


class ScoresPerTrack(Metric):
    """Any of ``DEFINITIONS`` for whole tracks, each scored on one rank; used for testing.

    The state is a table (tracks, stems, metrics) of zeros for tracks that were not seen. Ranks see different tracks,
    so the sum over ranks is the whole table, and NaN stays NaN.

    Args:
        tracks: number of tracks.
        stems: number of stems of each.
        metrics: which of ``DEFINITIONS``.
        sample_rate: of the tracks, in Hz.
    """

    full_state_update = False
    table: Tensor
    seen: Tensor

    def __init__(
        self, tracks: int, stems: int, metrics: Sequence[str] = tuple(DEFINITIONS), sample_rate: int = 44100
    ) -> None:
        super().__init__()
        check_metrics(metrics)
        self.metrics, self.sample_rate = tuple(metrics), sample_rate
        self.columns = (*self.metrics, *([NAN_FRAMES] if "csdr" in metrics else []))
        self.add_state("table", torch.zeros(tracks, stems, len(self.columns)), dist_reduce_fx="sum")
        self.add_state("seen", torch.zeros(tracks, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, estimates: Tensor, targets: Tensor, mixture: Tensor, track: int) -> None:
        """Score a whole track: (stems, C, N) twice and (C, N); a negative ``track`` is not counted."""
        if track >= 0:
            self.put(track, score_track(estimates, targets, mixture, self.sample_rate, self.metrics))

    def put(self, track: int, scores: Mapping[str, Sequence[float]]) -> None:
        """Enter the result of ``score_track``, which may come from another thread."""
        self.table[track] = torch.tensor([scores[name] for name in self.columns]).T
        self.seen[track] = 1
        self._update_count, self._computed = self._update_count + 1, None

    def compute(self) -> dict[str, TrackScores]:
        """The scores of all tracks seen so far, by metric, ``nan_frames`` last."""
        seen = (self.seen > 0)[:, None, None]
        table = self.table.masked_fill(~seen, float("nan")).cpu().double()
        silent = (table.isnan() & seen.cpu()).sum((0, 1))
        return {name: _aggregate(table[..., i], silent[i]) for i, name in enumerate(self.columns)}


def _aggregate(per_track: Tensor, silent: Tensor) -> TrackScores:
    """Median and mean over tracks, then over stems."""
    values = per_track.numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a stem with only NaN
        median, mean = np.nanmedian(values, axis=0), np.nanmean(values, axis=0)
        return TrackScores(values, torch.tensor(np.nanmean(median)), torch.tensor(np.nanmean(mean)), silent)

"""torchmetrics classes: a figure a song, on any number of ranks, whichever rank had the song."""

import warnings
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from wsa_lightning.metrics.definitions import DEFINITIONS
from wsa_lightning.metrics.energy import decibels, energies
from wsa_lightning.metrics.song import NAN_FRAMES, check_metrics, score_song


class SongScores(NamedTuple):
    """One metric over a set of songs.

    Attributes:
        per_song: (songs, stems), in NumPy, for torchmetrics squeezes a tensor of one song and one stem; NaN where the
            metric is undefined (a wholly silent target) or no song was seen.
        median: over the songs, then the mean over the stems; the figure named after the metric.
        mean: over the songs, then over the stems.
        silent: pairs of song and stem left out because the metric is undefined there.
    """

    per_song: np.ndarray
    median: Tensor
    mean: Tensor
    silent: Tensor


class UsdrPerSong(Metric):
    """uSDR of every song from chunks in any order, on any rank; what validation uses.

    Energies are summed over all chunks of a song, then turned into dB, then the median over songs is taken:
    a quiet chunk weighs as little as it sounds. Songs whose target is wholly silent have no SDR and are counted
    apart.

    Args:
        songs: how many songs there are.
        stems: how many stems each has.
    """

    higher_is_better = True
    full_state_update = False
    signal: Tensor
    error: Tensor
    seen: Tensor

    def __init__(self, songs: int, stems: int) -> None:
        super().__init__()
        for name in ("signal", "error"):
            self.add_state(name, torch.zeros(songs, stems), dist_reduce_fx="sum")
        self.add_state("seen", torch.zeros(songs, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, estimate: Tensor, target: Tensor, song: Tensor) -> None:
        """Add chunks (B, stems, C, N) of the songs numbered ``song`` (B,); a negative number is not counted."""
        counted = song >= 0
        song = song[counted]
        signal, error = energies(estimate[counted], target[counted])  # (B, stems)
        self.signal.index_add_(0, song, signal)
        self.error.index_add_(0, song, error)
        self.seen.index_add_(0, song, torch.ones_like(song))

    def compute(self) -> SongScores:
        """The scores of all songs seen so far."""
        seen = (self.seen > 0)[:, None]
        silent = seen & (self.signal == 0)
        per_song = decibels(self.signal, self.error).masked_fill(silent | ~seen, float("nan"))  # (songs, stems)
        median, mean = per_song.nanquantile(0.5, dim=0).nanmean(), per_song.nanmean(0).nanmean()
        return SongScores(per_song.cpu().numpy(), median, mean, silent.sum())


class ScoresPerSong(Metric):
    """Any of ``DEFINITIONS`` for whole songs, each scored on one rank; what ``test`` uses.

    The state is a table (songs, stems, metrics), zero until its song is seen. Ranks see different songs, so the sum
    over ranks is the whole table, and a NaN stays one.

    Args:
        songs: how many songs there are.
        stems: how many stems each has.
        metrics: which of ``DEFINITIONS``.
        sample_rate: of the songs, in Hz.
    """

    full_state_update = False
    table: Tensor
    seen: Tensor

    def __init__(
        self, songs: int, stems: int, metrics: Sequence[str] = tuple(DEFINITIONS), sample_rate: int = 44100
    ) -> None:
        super().__init__()
        check_metrics(metrics)
        self.metrics, self.sample_rate = tuple(metrics), sample_rate
        self.columns = (*self.metrics, *([NAN_FRAMES] if "csdr" in metrics else []))
        self.add_state("table", torch.zeros(songs, stems, len(self.columns)), dist_reduce_fx="sum")
        self.add_state("seen", torch.zeros(songs, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, estimates: Tensor, targets: Tensor, mixture: Tensor, song: int) -> None:
        """Score a whole song: (stems, C, N) twice and (C, N); a negative ``song`` is not counted."""
        if song >= 0:
            self.put(song, score_song(estimates, targets, mixture, self.sample_rate, self.metrics))

    def put(self, song: int, scores: Mapping[str, Sequence[float]]) -> None:
        """Enter what ``score_song`` found, perhaps in another thread."""
        self.table[song] = torch.tensor([scores[name] for name in self.columns]).T
        self.seen[song] = 1
        self._update_count, self._computed = self._update_count + 1, None

    def compute(self) -> dict[str, SongScores]:
        """The scores of all songs seen so far, by metric, ``nan_frames`` last."""
        seen = (self.seen > 0)[:, None, None]
        table = self.table.masked_fill(~seen, float("nan")).cpu().double()
        silent = (table.isnan() & seen.cpu()).sum((0, 1))
        return {name: _aggregate(table[..., i], silent[i]) for i, name in enumerate(self.columns)}


def _aggregate(per_song: Tensor, silent: Tensor) -> SongScores:
    """Median and mean over songs, then over stems."""
    values = per_song.numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a stem of nothing but NaN
        median, mean = np.nanmedian(values, axis=0), np.nanmean(values, axis=0)
        return SongScores(values, torch.tensor(np.nanmean(median)), torch.tensor(np.nanmean(mean)), silent)

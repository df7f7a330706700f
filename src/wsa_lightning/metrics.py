"""Separation metrics: plain functions, and torchmetrics classes built on them.

uSDR is the field's plain SDR (MDX, MSST ``sdr``): one ratio of energies over channels and a whole song.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

EPSILON = 1e-8


def usdr(estimate: Tensor, target: Tensor) -> float:
    """10 log10((sum s² + 1e-8) / (sum (s - e)² + 1e-8)) in dB over channels and samples of (C, N) audio."""
    signal, error = energies(estimate, target)
    return float(decibels(signal, error))


def energies(estimate: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Energy of the target and of the error over the last two axes, in fp32: (..., C, N) -> (...), (...)."""
    target, estimate = target.float(), estimate.float()
    return target.square().sum((-2, -1)), (target - estimate).square().sum((-2, -1))


def decibels(signal: Tensor, error: Tensor) -> Tensor:
    """uSDR in dB from energies."""
    return 10 * torch.log10((signal + EPSILON) / (error + EPSILON))


class SongScores(NamedTuple):
    """uSDR of a set of songs.

    Attributes:
        per_song: (songs, stems) in dB; NaN where the target is wholly silent or no chunk was seen.
        median: over the songs, then the mean over the stems; the figure named ``usdr``.
        mean: over the songs, then over the stems.
        silent: pairs of song and stem left out because the target is silent.
    """

    per_song: Tensor
    median: Tensor
    mean: Tensor
    silent: Tensor


class UsdrPerSong(Metric):
    """uSDR of every song from chunks in any order, on any rank.

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
        return SongScores(
            per_song, per_song.nanquantile(0.5, dim=0).nanmean(), per_song.nanmean(0).nanmean(), silent.sum()
        )

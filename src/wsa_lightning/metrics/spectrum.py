"""Distances of magnitude spectra: L1-freq, bleedless and fullness, as MSST computes them.

Spectra are computed in blocks of frames: of a long track, only the mel spectrogram is held in memory as a whole.
"""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from wsa_lightning.models.bands import slaney_mel_edges

HOP = 1024
L1_FFT = 2048
MEL_FFT = 4096
MEL_BANDS = 512
FLOOR_DB = 80.0
AMPLITUDE_FLOOR = 1e-10
BLOCK = 1024
"""Frames transformed at once."""


def l1_freq(estimate: Tensor, target: Tensor) -> float:
    """L1-freq of (C, N) audio, 0 to 100, higher is better.

    100 / (1 + 10 mean abs(|E| - |S|)) over channels, bins and frames; STFT of 2048 samples, hop 1024, rectangular
    window, reflected at the ends (MSST's ``l1_freq``; not scale-invariant: a louder track scores lower). Over tracks:
    the median.
    """
    total, count = 0.0, 0
    spectra = (magnitudes(audio, L1_FFT, torch.ones(L1_FFT), "reflect") for audio in (estimate, target))
    for ours, theirs in zip(*spectra, strict=True):
        total += float((ours - theirs).abs().sum())
        count += ours.numel()
    return 100 / (1 + 10 * total / count)


def bleedless(estimate: Tensor, target: Tensor, sample_rate: int = 44100) -> float:
    """Bleedless of (C, N) audio, 0 to 100, higher is better: how little the estimate adds to the target.

    100 / (1 + mean of the positive d), d = L(E) - L(S) in dB over channels, mel bands and frames. L is
    20 log10(max(1e-10, mel |STFT|)) with a floor 80 dB below the signal's maximum; STFT of 4096 samples, hop 1024,
    Hann window, zeros beyond the ends; 512 Slaney mel bands. MSST's ``bleedless``, the paper's second metric.
    Over tracks: the median.
    """
    return bleedless_and_fullness(estimate, target, sample_rate)[0]


def fullness(estimate: Tensor, target: Tensor, sample_rate: int = 44100) -> float:
    """Fullness of (C, N) audio, 0 to 100, higher is better: how little of the target is missing in the estimate.

    100 / (1 - mean of the negative d), d as in ``bleedless``; MSST's ``fullness``. Over tracks: the median.
    """
    return bleedless_and_fullness(estimate, target, sample_rate)[1]


def bleedless_and_fullness(estimate: Tensor, target: Tensor, sample_rate: int = 44100) -> tuple[float, float]:
    """Both metrics from one pair of spectrograms."""
    difference = mel_level(estimate, sample_rate) - mel_level(target, sample_rate)  # (C, K, T)
    added, lacking = difference.clamp_min(0), difference.clamp_max(0)

    def mean(side: Tensor) -> float:
        return float(side.sum() / side.count_nonzero().clamp_min(1))

    return 100 / (1 + mean(added)), 100 / (1 - mean(lacking))


def mel_level(audio: Tensor, sample_rate: int) -> Tensor:
    """Mel spectrogram in dB with a floor 80 dB below its maximum: (C, N) -> (C, K, T)."""
    bank = slaney_mel_bank(MEL_BANDS, MEL_FFT, sample_rate).to(audio.device)
    window = torch.hann_window(MEL_FFT)
    level = torch.cat([bank @ block for block in magnitudes(audio, MEL_FFT, window, "constant")], dim=-1)
    level = level.clamp_min_(AMPLITUDE_FLOOR).log10_().mul_(20)
    return level.clamp_min_(level.max() - FLOOR_DB)


def magnitudes(audio: Tensor, n_fft: int, window: Tensor, pad_mode: str) -> Iterator[Tensor]:
    """abs(STFT) of centred frames, ``BLOCK`` frames at a time: (C, N) -> (C, F, <= BLOCK).

    Audio too short for reflection is padded with zeros.
    """
    half = n_fft // 2
    mode = "constant" if audio.shape[-1] <= half else pad_mode
    padded = F.pad(audio.float()[None], (half, half), mode=mode)[0]  # (C, N + n_fft)
    frames = audio.shape[-1] // HOP + 1
    window = window.to(audio.device)
    for first in range(0, frames, BLOCK):
        last = min(first + BLOCK, frames) - 1
        part = padded[:, first * HOP : last * HOP + n_fft]
        yield torch.stft(part, n_fft, HOP, window=window, center=False, return_complex=True).abs()


@lru_cache(maxsize=4)
def slaney_mel_bank(bands: int, n_fft: int, sample_rate: int) -> Tensor:
    """Triangles of unit area on Slaney's mel scale (librosa.filters.mel), (bands, n_fft // 2 + 1)."""
    edges = slaney_mel_edges(bands, sample_rate / 2)
    frequency = np.linspace(0, sample_rate / 2, n_fft // 2 + 1)
    left, centre, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (frequency - left) / (centre - left), (right - frequency) / (right - centre)
    triangles = np.maximum(0, np.minimum(rising, falling)) * 2 / (right - left)
    return torch.from_numpy(triangles.astype(np.float32))

"""Ratios of energies over a whole track: uSDR and SI-SDR."""

import torch
from torch import Tensor

EPSILON = 1e-8


def usdr(estimate: Tensor, target: Tensor) -> float:
    """uSDR in dB of (C, N) audio, higher is better.

    10 log10((sum s² + 1e-8) / (sum (s - e)² + 1e-8)), the sums over channels and samples: the plain SDR of the MDX
    challenges (Mitsufuji et al. 2022) and of MSST's ``sdr``. Over tracks: the median.
    """
    signal, error = energies(estimate, target)
    return float(decibels(signal, error))


def si_sdr(estimate: Tensor, target: Tensor) -> float:
    """SI-SDR in dB of (C, N) audio, higher is better: SDR that ignores a wrong level.

    10 log10(sum (a s)² / sum (a s - e)²) with a = sum e s / sum s² (Le Roux et al. 2019), no mean removed, the
    channels as one long signal, 1e-8 added to every product and ratio as in MSST's ``si_sdr``. Over tracks: the median.
    """
    target, estimate = target.float(), estimate.float()
    scale = (estimate * target + EPSILON).sum() / (target.square() + EPSILON).sum()
    signal, error = energies(estimate, scale * target)
    return float(10 * torch.log10(signal / (error + EPSILON) + EPSILON))


def energies(estimate: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Energy of the target and of the error over the last two axes, in fp32: (..., C, N) -> (...), (...)."""
    target, estimate = target.float(), estimate.float()
    return target.square().sum((-2, -1)), (target - estimate).square().sum((-2, -1))


def decibels(signal: Tensor, error: Tensor) -> Tensor:
    """uSDR in dB from energies."""
    return 10 * torch.log10((signal + EPSILON) / (error + EPSILON))

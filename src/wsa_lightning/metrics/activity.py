"""One metric for the frames in which the target is active, and one for those in which it is silent.

The uSDR of a track is dominated by its loud frames. Windowed attention loses most where the voice pauses (arXiv
2510.25745), so the two kinds of frames are scored separately. Both definitions are ours.
"""

from torch import Tensor
from torch.nn import functional as F

from wsa_lightning.metrics.energy import EPSILON, decibels

FRAME_SECONDS = 0.25
THRESHOLD_DB = 60.0
"""A frame is active if its energy is above that of the target's loudest frame minus this."""


def usdr_active(estimate: Tensor, target: Tensor, sample_rate: int = 44100) -> float:
    """uSDR in dB of (C, N) audio over the frames in which the target is active; higher is better.

    10 log10((sum s² + 1e-8) / (sum (s - e)² + 1e-8)), the sums over channels and the samples of all frames of 0.25 s
    whose target energy is above -60 dB of the target's loudest frame; the last frame may be shorter. NaN for a
    silent target. Over tracks: the median.
    """
    signal = frame_energy(target, sample_rate)
    active = is_active(signal)
    if not active.any():
        return float("nan")
    error = frame_energy(target.float() - estimate.float(), sample_rate)
    return float(decibels(signal[active].sum(), error[active].sum()))


def leakage(estimate: Tensor, target: Tensor, mixture: Tensor, sample_rate: int = 44100) -> float:
    """Level of the estimate where the target is silent, in dB relative to the mixture; lower is better.

    10 log10((sum e² + 1e-8) / (sum x² + 1e-8)), where x is the mixture, the sums over channels and the samples of all
    frames that ``usdr_active`` leaves out; the mixture as estimate has 0 dB. NaN if there is no such frame or the
    mixture is silent in all of them. Over tracks: the median.
    """
    silent = ~is_active(frame_energy(target, sample_rate))
    through = frame_energy(mixture, sample_rate)[silent].sum()
    if through <= EPSILON:
        return float("nan")
    return float(decibels(frame_energy(estimate, sample_rate)[silent].sum(), through))


def frame_energy(audio: Tensor, sample_rate: int) -> Tensor:
    """Energy of every frame, (C, N) -> (frames,); the last frame may be shorter."""
    length = max(1, round(FRAME_SECONDS * sample_rate))
    squares = audio.float().square().sum(0)  # (N,)
    return F.pad(squares, (0, -len(squares) % length)).view(-1, length).sum(1)


def is_active(energy: Tensor) -> Tensor:
    """Which frames are above the threshold, (frames,) -> bool (frames,); none if all are silent."""
    return energy > energy.max() * 10 ** (-THRESHOLD_DB / 10)

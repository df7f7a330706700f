"""cSDR: the SDR of museval v4 in frames of one second."""

import numpy as np
import torch
from torch import Tensor

from wsa_lightning.errors import UserError


def csdr(estimates: Tensor, targets: Tensor, sample_rate: int = 44100) -> list[float]:
    """cSDR in dB of every source of (sources, C, N) audio, higher is better: the median over 1-s frames.

    museval v4's SDR (Stöter, Liutkus and Ito 2018), which is 10 log10(sum s² / sum (s - e)²) in every frame: its
    distortion filters affect only SIR, ISR and SAR and cancel in the SDR, so they are not computed here. NaN frames
    (see ``csdr_frames``) are left out; NaN if none is left. In the literature the value for vocals is computed from
    two sources, vocals and accompaniment. Over tracks: the median.
    """
    return frame_median(csdr_frames(estimates, targets, sample_rate))


def csdr_frames(estimates: Tensor, targets: Tensor, sample_rate: int = 44100) -> Tensor:
    """SDR in dB of every 1-s frame: (sources, C, N) twice -> (sources, frames).

    As in museval v4: frames do not overlap, the last partial one is dropped (a track of at most 1 s is one frame), and
    a frame is NaN for all sources if the channels of any target or any estimate sum to 0 in each of its samples.

    Raises:
        UserError: the shapes differ or are not (sources, C, N).
    """
    if estimates.shape != targets.shape or targets.ndim != 3:
        raise UserError(
            f"estimates {tuple(estimates.shape)} and targets {tuple(targets.shape)}: expected (sources, C, N) twice"
        )
    samples = targets.shape[-1]
    length = min(sample_rate, samples)
    count = samples // length
    target, estimate = (
        audio[..., : count * length].float().unflatten(-1, (count, length)) for audio in (targets, estimates)
    )  # (sources, C, frames, length)
    signal = target.square().sum((1, 3))  # (sources, frames)
    error = (target - estimate).square().sum((1, 3))
    silent = torch.stack([(audio.sum(1) == 0).all(-1).any(0) for audio in (target, estimate)]).any(0)  # (frames,)
    return (10 * torch.log10(signal / error)).masked_fill(silent, torch.nan)


def frame_median(frames: Tensor) -> list[float]:
    """Median over the frames that are not NaN, (sources, frames) -> one value per source; NaN if there is none."""
    kept = frames.cpu().double().numpy()
    return [float(np.median(row[~np.isnan(row)])) if not np.isnan(row).all() else float("nan") for row in kept]

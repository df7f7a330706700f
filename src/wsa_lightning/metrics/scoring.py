"""All metrics of one song at once, sharing what they share."""

from collections.abc import Collection
from math import nan

import torch
from torch import Tensor

from wsa_lightning.errors import UserError
from wsa_lightning.metrics.activity import leakage, usdr_active
from wsa_lightning.metrics.definitions import DEFINITIONS
from wsa_lightning.metrics.energy import si_sdr, usdr
from wsa_lightning.metrics.frames import csdr_frames, frame_median
from wsa_lightning.metrics.spectrum import bleedless_and_fullness, l1_freq

NAN_FRAMES = "nan_frames"


def check_metrics(names: Collection[str]) -> None:
    """Raise a ``UserError`` unless every name is a metric's and there is one at least."""
    unknown = [name for name in names if name not in DEFINITIONS]
    if unknown or not names:
        raise UserError(f"metrics are {list(names)}: expected some of {', '.join(DEFINITIONS)}")


@torch.no_grad()
def score_song(
    estimates: Tensor,
    targets: Tensor,
    mixture: Tensor,
    sample_rate: int = 44100,
    metrics: Collection[str] = tuple(DEFINITIONS),
) -> dict[str, list[float]]:
    """Metrics of one song.

    Args:
        estimates: (stems, C, N).
        targets: (stems, C, N).
        mixture: (C, N).
        sample_rate: in Hz.
        metrics: which of ``DEFINITIONS``.

    Returns:
        A figure per stem for every metric, and ``nan_frames``, the frames that cSDR leaves out, if ``csdr`` is among
        them. A wholly silent target has a leakage and nothing else: the rest is NaN.

    Raises:
        UserError: an unknown metric, shapes that differ.
    """
    check_metrics(metrics)
    if estimates.shape != targets.shape or mixture.shape != targets.shape[1:]:
        raise UserError(
            f"estimates {tuple(estimates.shape)}, targets {tuple(targets.shape)} and mixture {tuple(mixture.shape)}: "
            "expected (stems, C, N) twice and (C, N), the same N"
        )
    scores: dict[str, list[float]] = {}
    for estimate, target in zip(estimates, targets, strict=True):
        for name, value in _score_stem(estimate, target, mixture, sample_rate, metrics).items():
            scores.setdefault(name, []).append(value)
    if "csdr" in metrics:
        frames = csdr_frames(*_with_accompaniment(estimates, targets, mixture), sample_rate)[: len(targets)]
        scores["csdr"] = frame_median(frames)
        scores[NAN_FRAMES] = frames.isnan().sum(1).double().tolist()
    order = [*(name for name in DEFINITIONS if name in metrics), NAN_FRAMES]
    return {name: scores[name] for name in order if name in scores}


def _score_stem(
    estimate: Tensor, target: Tensor, mixture: Tensor, sample_rate: int, metrics: Collection[str]
) -> dict[str, float]:
    """Everything but cSDR, which looks at all sources together."""
    scores = {}
    if "leakage" in metrics:
        scores["leakage"] = leakage(estimate, target, mixture, sample_rate)
    wanted = set(metrics) - {"leakage", "csdr"}
    if not target.any():
        return scores | dict.fromkeys(wanted, nan)
    simple = {"usdr": usdr, "si_sdr": si_sdr, "l1_freq": l1_freq}
    scores |= {name: function(estimate, target) for name, function in simple.items() if name in wanted}
    if "usdr_active" in wanted:
        scores["usdr_active"] = usdr_active(estimate, target, sample_rate)
    if wanted & {"bleedless", "fullness"}:
        both = dict(zip(("bleedless", "fullness"), bleedless_and_fullness(estimate, target, sample_rate), strict=True))
        scores |= {name: value for name, value in both.items() if name in wanted}
    return scores


def _with_accompaniment(estimates: Tensor, targets: Tensor, mixture: Tensor) -> tuple[Tensor, Tensor]:
    """A single stem gets its accompaniment as second source, as museval does for vocals: (sources, C, N) twice."""
    if len(targets) > 1:
        return estimates, targets
    return torch.cat([estimates, mixture - estimates]), torch.cat([targets, mixture - targets])

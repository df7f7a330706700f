"""All metrics of one track."""

from collections.abc import Collection
from math import nan

import torch
from torch import Tensor

from wsa_lightning.errors import UserError
from wsa_lightning.metrics.definitions import DEFINITIONS, Signals
from wsa_lightning.metrics.frames import csdr_frames, frame_median

NAN_FRAMES = "nan_frames"


def check_metrics(names: Collection[str]) -> None:
    """Raise a ``UserError`` unless there is at least one name, and each is one of ``DEFINITIONS``."""
    unknown = [name for name in names if name not in DEFINITIONS]
    if unknown or not names:
        raise UserError(f"metrics are {list(names)}: expected some of {', '.join(DEFINITIONS)}")


@torch.no_grad()
def score_track(
    estimates: Tensor,
    targets: Tensor,
    mixture: Tensor,
    sample_rate: int = 44100,
    metrics: Collection[str] = tuple(DEFINITIONS),
) -> dict[str, list[float]]:
    """Metrics of one track.

    Args:
        estimates: (stems, C, N).
        targets: (stems, C, N).
        mixture: (C, N).
        sample_rate: in Hz.
        metrics: which of ``DEFINITIONS``.

    Returns:
        For every metric one score per stem, NaN where it is undefined: a silent target has a leakage only. If ``csdr``
        is among the metrics, also ``nan_frames``, the number of frames that it skips.

    Raises:
        UserError: an unknown metric, shapes that differ.
    """
    check_metrics(metrics)
    if estimates.shape != targets.shape or mixture.shape != targets.shape[1:]:
        raise UserError(
            f"estimates {tuple(estimates.shape)}, targets {tuple(targets.shape)} and mixture {tuple(mixture.shape)}: "
            "expected (stems, C, N) twice and (C, N), the same N"
        )
    scores: dict[str, list[float]] = {name: [] for name in DEFINITIONS if name in metrics}
    for estimate, target in zip(estimates, targets, strict=True):
        signals = Signals(estimate, target, mixture, sample_rate)
        silent = not target.any()
        for name, values in scores.items():
            definition = DEFINITIONS[name]
            if definition.score is not None:
                undefined = silent and not definition.of_silence
                values.append(nan if undefined else definition.score(signals))
    if "csdr" in scores:
        frames = csdr_frames(*_with_accompaniment(estimates, targets, mixture), sample_rate)[: len(targets)]
        scores["csdr"] = frame_median(frames)
        scores[NAN_FRAMES] = frames.isnan().sum(1).double().tolist()
    return scores


def _with_accompaniment(estimates: Tensor, targets: Tensor, mixture: Tensor) -> tuple[Tensor, Tensor]:
    """Add the accompaniment to a single stem, as museval does for vocals: (sources, C, N) twice."""
    if len(targets) > 1:
        return estimates, targets
    return torch.cat([estimates, mixture - estimates]), torch.cat([targets, mixture - targets])

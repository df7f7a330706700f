"""The signals of golden/metrics.json."""

import json
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tests.golden import FOLDER

CASES = json.loads((FOLDER / "metrics.json").read_text())["cases"]


class Signals(NamedTuple):
    """(C, N) each."""

    target: Tensor
    estimate: Tensor
    mixture: Tensor


def golden_signals(seed: int, seconds: float, bleed: float, noise: float, silent_from: float | None = None) -> Signals:
    """Target, estimate and mixture of the recipe in metrics.json."""
    r = np.random.RandomState(seed)
    n = int(44100 * seconds)
    t = np.arange(n) / 44100
    f = 220 * 2 ** (r.randint(0, 24, size=12) / 12)
    voice = (
        sum(
            np.sin(2 * np.pi * fi * (i % 3 + 1) * t + r.rand()) * np.exp(-((t * 1.7 + i * 0.37) % 1) * 3)
            for i, fi in enumerate(f)
        )
        * 0.05
    )
    other = r.standard_normal(n) * 0.05 * (0.5 + 0.5 * np.sin(2 * np.pi * 2 * t))
    target = np.stack([voice, voice * 0.8 + 0.01 * r.standard_normal(n)]).astype(np.float32)
    backing = np.stack([other * 0.9, other]).astype(np.float32)
    if silent_from is not None:
        target[:, int(silent_from * 44100) :] = 0
    mixture = target + backing
    estimate = (target * 0.95 + bleed * backing + noise * r.standard_normal(target.shape)).astype(np.float32)
    return Signals(*map(torch.from_numpy, (target, estimate, mixture)))

"""uSDR is the field's definition, and songs are scored from their chunks in any order."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.golden import FOLDER
from wsa_lightning.metrics import UsdrPerSong, usdr

CASES = json.loads((FOLDER / "metrics.json").read_text())["cases"]


def golden_signals(
    seed: int, seconds: float, bleed: float, noise: float, silent_from: float | None = None
) -> tuple[Tensor, Tensor]:
    """Target and estimate of the recipe in metrics.json."""
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
    estimate = (target * 0.95 + bleed * backing + noise * r.standard_normal(target.shape)).astype(np.float32)
    return torch.from_numpy(target), torch.from_numpy(estimate)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"seed {case['case']['seed']}")
def test_usdr_agrees_with_the_communitys_code(case: dict[str, dict[str, float]]) -> None:
    target, estimate = golden_signals(**case["case"])
    assert usdr(estimate, target) == pytest.approx(case["metrics"]["sdr"], rel=1e-3)


@settings(deadline=None, max_examples=25)
@given(chunks=st.integers(1, 6), order=st.randoms(use_true_random=False))
def test_a_song_scores_the_same_from_chunks_in_any_order(chunks: int, order: "object") -> None:
    torch.manual_seed(chunks)
    target, estimate = torch.randn(1, 2, 600 * chunks), torch.randn(1, 2, 600 * chunks)
    metric = UsdrPerSong(songs=1, stems=1)
    pieces = list(zip(estimate.chunk(chunks, -1), target.chunk(chunks, -1), strict=True))
    order.shuffle(pieces)  # type: ignore[attr-defined]
    for one, other in pieces:
        metric.update(one[None], other[None], torch.tensor([0]))
    assert float(metric.compute().median) == pytest.approx(usdr(estimate[0], target[0]), abs=1e-4)


def test_silent_songs_are_counted_apart_and_repeats_not_at_all() -> None:
    metric = UsdrPerSong(songs=3, stems=1)
    target = torch.randn(4, 1, 2, 100)
    target[1] = 0
    metric.update(0.9 * target + 0.01, target, torch.tensor([0, 1, 2, -1]))
    scores = metric.compute()
    assert int(scores.silent) == 1
    assert torch.isnan(scores.per_song[1, 0])
    expected = [usdr(0.9 * target[i, 0] + 0.01, target[i, 0]) for i in (0, 2)]
    assert float(scores.mean) == pytest.approx(sum(expected) / 2, abs=1e-4)


def test_stems_are_scored_apart_and_then_averaged() -> None:
    metric = UsdrPerSong(songs=1, stems=2)
    target = torch.ones(1, 2, 2, 50)
    estimate = target.clone()
    estimate[0, 0] *= 0.9
    estimate[0, 1] *= 0.5
    metric.update(estimate, target, torch.tensor([0]))
    expected = (20 * math.log10(10) + 20 * math.log10(2)) / 2
    assert float(metric.compute().median) == pytest.approx(expected, abs=1e-3)

"""What the metrics must do whatever the numbers: direction, invariance, silence, odd lengths."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from wsa_lightning.errors import UserError
from wsa_lightning.metrics import (
    DEFINITIONS,
    bleedless,
    csdr,
    csdr_frames,
    fullness,
    l1_freq,
    leakage,
    paired_difference,
    score_track,
    si_sdr,
    usdr,
    usdr_active,
)

RATE = 44100
FRAME = RATE // 4


def track(seconds: float = 2.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Target and accompaniment (C, N)."""
    generator = torch.Generator().manual_seed(seed)
    return tuple(0.1 * torch.randn(2, round(seconds * RATE), generator=generator) for _ in range(2))  # type: ignore[return-value]


@pytest.mark.parametrize("name", DEFINITIONS)
def test_less_of_the_accompaniment_is_better_in_the_direction_the_definition_says(name: str) -> None:
    target, backing = track()
    target[:, :FRAME] = 0
    good, bad = (
        score_track((target + gain * backing)[None], target[None], target + backing, metrics=[name])[name][0]
        for gain in (0.02, 0.3)
    )
    assert (good > bad) == (DEFINITIONS[name].better == "higher")


@settings(deadline=None, max_examples=20)
@given(gain=st.floats(0.1, 10))
def test_si_sdr_does_not_see_the_level_and_usdr_does(gain: float) -> None:
    target, backing = track(0.2)
    estimate = target + 0.1 * backing
    assert si_sdr(gain * estimate, target) == pytest.approx(si_sdr(estimate, target), abs=1e-2)
    assert usdr(gain * estimate, target) <= usdr(estimate, target) + 0.1


def test_bleedless_sees_what_is_added_and_fullness_what_is_missing() -> None:
    target, backing = track(1.0)
    assert bleedless(0.5 * target, target) == fullness(2 * target, target) == pytest.approx(100)
    assert fullness(0.5 * target, target) == pytest.approx(100 / (1 + 20 * math.log10(2)), rel=1e-3)
    assert bleedless(target + backing, target) < 50


def test_l1_freq_of_the_target_itself_is_100() -> None:
    target, _ = track(0.3)
    assert l1_freq(target, target) == 100


def test_silent_frames_change_leakage_alone_and_sounding_frames_active_usdr_alone() -> None:
    target, backing = track(3.0)
    target[:, 4 * FRAME : 8 * FRAME] = 0
    mixture = target + backing
    estimate = target + 0.1 * backing
    louder_pause, louder_voice = estimate.clone(), estimate.clone()
    louder_pause[:, 4 * FRAME : 8 * FRAME] *= 3
    louder_voice[:, : 4 * FRAME] *= 3
    before = usdr_active(estimate, target), leakage(estimate, target, mixture)
    assert before[1] == pytest.approx(-20, abs=1e-3)
    assert usdr_active(louder_pause, target) == before[0]
    assert leakage(louder_pause, target, mixture) == pytest.approx(before[1] + 20 * math.log10(3), abs=1e-3)
    assert usdr_active(louder_voice, target) < before[0] - 3
    assert leakage(louder_voice, target, mixture) == before[1]


def test_leakage_of_the_mixture_is_0_db_and_undefined_where_nothing_is_silent() -> None:
    target, backing = track(1.0)
    assert math.isnan(leakage(target, target, target + backing))
    target[:, :FRAME] = 0
    assert leakage(target + backing, target, target + backing) == pytest.approx(0, abs=1e-5)


def test_a_silent_target_has_a_leakage_and_nothing_else() -> None:
    _, backing = track()
    scores = score_track(0.1 * backing[None], torch.zeros(1, *backing.shape), backing)
    assert scores.pop("leakage") == [pytest.approx(-20, abs=1e-3)]
    assert scores.pop("nan_frames") == [2]
    assert all(math.isnan(value) for values in scores.values() for value in values)


def test_without_a_defined_frame_csdr_is_nan() -> None:
    target, _ = track()
    assert all(map(math.isnan, csdr(torch.zeros(2, *target.shape), torch.stack([target, target]))))


def test_several_stems_are_scored_against_each_other_and_one_beside_its_accompaniment() -> None:
    target, backing = track()
    estimate = target + 0.1 * backing
    alone = score_track(estimate[None], target[None], target + backing, metrics=["csdr"])
    both = score_track(
        torch.stack([estimate, 0.9 * backing]), torch.stack([target, backing]), target + backing, metrics=["csdr"]
    )
    assert alone["csdr"][0] == pytest.approx(both["csdr"][0], rel=1e-6)
    backing[:, :RATE] = 0  # museval leaves a frame out for all sources where one is silent
    assert csdr_frames(torch.stack([estimate, 0.9 * backing]), torch.stack([target, backing])).isnan()[:, 0].all()


@pytest.mark.parametrize("samples", [1, 2, 1024, 1025, 2049, RATE - 1, RATE, RATE + 1])
def test_a_track_of_any_length_has_finite_scores(samples: int) -> None:
    target, backing = (part[:, :samples] for part in track())
    scores = score_track((target + 0.1 * backing)[None], target[None], target + backing)
    for name in set(DEFINITIONS) - {"leakage"}:
        assert math.isfinite(scores[name][0]), name


def test_what_does_not_fit_is_refused() -> None:
    target, backing = track(0.1)
    with pytest.raises(UserError, match="sdr_typo"):
        score_track(target[None], target[None], backing, metrics=["sdr_typo"])
    with pytest.raises(UserError, match="same N"):
        score_track(target[None, :, 1:], target[None], backing)
    with pytest.raises(UserError, match="sources, C, N"):
        csdr(target, target)


def test_a_paired_difference_is_that_of_the_tracks_both_have_and_its_interval_holds_the_mean() -> None:
    ours, theirs = [9.0, 8.0, float("nan"), 7.0, 6.0], [10.0, 8.5, 3.0, float("nan"), 7.5]
    found = paired_difference(ours, theirs)
    assert (found.n, found.mean, found.median) == (3, pytest.approx(-1.0), pytest.approx(-1.0))
    assert -1.5 <= found.low < found.mean < found.high <= -0.5
    assert found == paired_difference(ours, theirs)


def test_the_interval_narrows_as_tracks_come_in_and_one_track_has_none() -> None:
    generator = torch.Generator().manual_seed(0)
    many = torch.randn(400, generator=generator).tolist()
    widths = [(d := paired_difference(many[:n], [0.0] * n)).high - d.low for n in (25, 400)]
    assert widths[0] / widths[1] == pytest.approx(4, rel=0.3)
    assert widths[1] == pytest.approx(2 * 1.96 / 20, rel=0.15)  # what the normal distribution promises
    one = paired_difference([1.0], [2.0])
    assert one.mean == -1 and math.isnan(one.low)
    assert paired_difference([float("nan")], [1.0]).n == 0

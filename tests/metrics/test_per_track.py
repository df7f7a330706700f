"""Tracks are scored from chunks in any order, or whole, on any rank."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wsa_lightning.metrics import DEFINITIONS, Definition, ScoresPerTrack, TrackScores, UsdrPerTrack, score_track, usdr


@settings(deadline=None, max_examples=25)
@given(chunks=st.integers(1, 6), order=st.randoms(use_true_random=False))
def test_a_track_scores_the_same_from_chunks_in_any_order(chunks: int, order: "object") -> None:
    torch.manual_seed(chunks)
    target, estimate = torch.randn(1, 2, 600 * chunks), torch.randn(1, 2, 600 * chunks)
    metric = UsdrPerTrack(tracks=1, stems=1)
    pieces = list(zip(estimate.chunk(chunks, -1), target.chunk(chunks, -1), strict=True))
    order.shuffle(pieces)  # type: ignore[attr-defined]
    for one, other in pieces:
        metric.update(one[None], other[None], torch.tensor([0]))
    assert float(metric.compute().median) == pytest.approx(usdr(estimate[0], target[0]), abs=1e-4)


def test_silent_tracks_are_counted_apart_and_repeats_not_at_all() -> None:
    metric = UsdrPerTrack(tracks=3, stems=1)
    target = torch.randn(4, 1, 2, 100)
    target[1] = 0
    metric.update(0.9 * target + 0.01, target, torch.tensor([0, 1, 2, -1]))
    scores = metric.compute()
    assert int(scores.silent) == 1
    assert math.isnan(scores.per_track[1, 0])
    expected = [usdr(0.9 * target[i, 0] + 0.01, target[i, 0]) for i in (0, 2)]
    assert float(scores.mean) == pytest.approx(sum(expected) / 2, abs=1e-4)


def test_stems_are_scored_apart_and_then_averaged() -> None:
    metric = UsdrPerTrack(tracks=1, stems=2)
    target = torch.ones(1, 2, 2, 50)
    estimate = target.clone()
    estimate[0, 0] *= 0.9
    estimate[0, 1] *= 0.5
    metric.update(estimate, target, torch.tensor([0]))
    expected = (20 * math.log10(10) + 20 * math.log10(2)) / 2
    assert float(metric.compute().median) == pytest.approx(expected, abs=1e-3)


def whole_tracks(tracks: int) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Estimates and targets (2, C, N) and mixture (C, N) of tracks of unequal length."""
    torch.manual_seed(1)
    made = []
    for track in range(tracks):
        targets = 0.1 * torch.randn(2, 2, 44100 + 5000 * track)
        made.append((targets + 0.02 * torch.randn_like(targets), targets, targets.sum(0)))
    return made


def test_whole_tracks_are_aggregated_by_median_and_mean_over_tracks() -> None:
    metric = ScoresPerTrack(tracks=4, stems=2)
    tracks = whole_tracks(3)
    for number, (estimates, targets, mixture) in enumerate(tracks):
        metric.update(estimates, targets, mixture, number)
    metric.update(*tracks[0], track=-1)
    scores = metric.compute()
    assert [*scores] == [*DEFINITIONS, "nan_frames"]
    expected = torch.tensor([score_track(*track)["si_sdr"] for track in tracks])
    np.testing.assert_allclose(scores["si_sdr"].per_track[:3], expected, rtol=1e-6)
    assert np.isnan(scores["si_sdr"].per_track[3]).all(), "the fourth track was never seen"
    assert float(scores["si_sdr"].median) == pytest.approx(float(expected.median(0).values.mean()), rel=1e-5)
    assert float(scores["si_sdr"].mean) == pytest.approx(float(expected.mean()), rel=1e-5)


def test_undefined_scores_are_counted_and_left_out() -> None:
    metric = ScoresPerTrack(tracks=2, stems=1, metrics=["usdr"])
    target = torch.randn(1, 2, 3000)
    metric.update(0.9 * target, target, target[0], 0)
    metric.update(0.9 * target, torch.zeros_like(target), target[0], 1)
    scores = metric.compute()["usdr"]
    assert int(scores.silent) == 1
    assert float(scores.median) == pytest.approx(20, abs=1e-3)


def test_a_metric_added_from_outside_is_scored_like_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    peak = Definition("", "lower", "max |e|", lambda signals: float(signals.estimate.abs().max()), of_silence=True)
    monkeypatch.setitem(DEFINITIONS, "peak", peak)
    metric = ScoresPerTrack(tracks=2, stems=1, metrics=["usdr", "peak"])
    target = torch.zeros(1, 2, 3000)
    for track in range(2):
        metric.update(torch.full_like(target, 0.1 * (track + 1)), target, target[0], track)
    scores = metric.compute()
    assert [*scores] == ["usdr", "peak"]
    assert float(scores["peak"].mean) == pytest.approx(0.15)
    assert set(peak.as_dict()) == set(DEFINITIONS["usdr"].as_dict()) == {"unit", "better", "text", "aggregation"}


def test_one_track_of_one_stem_is_a_table_too() -> None:
    estimate, target = torch.randn(2, 1, 2, 3000)
    whole, chunks = ScoresPerTrack(tracks=1, stems=1, metrics=["usdr"]), UsdrPerTrack(tracks=1, stems=1)
    whole.update(estimate, target, target[0], 0)
    chunks.update(estimate[None], target[None], torch.tensor([0]))
    for scores in (whole.compute()["usdr"], chunks.compute()):
        assert scores.per_track.shape == (1, 1)
        assert float(scores.median) == pytest.approx(usdr(estimate[0], target[0]), abs=1e-4)


def score_share(rank: int, ranks: int) -> list[TrackScores]:
    """What both classes say of all tracks, having seen those of one rank: whole, and in chunks of halves."""
    whole, chunks = (
        ScoresPerTrack(tracks=3, stems=2, metrics=["usdr", "csdr", "leakage"]),
        UsdrPerTrack(tracks=3, stems=2),
    )
    for number, (estimates, targets, mixture) in enumerate(whole_tracks(3)):
        if number % ranks == rank:
            whole.update(estimates, targets, mixture, number)
        halves = list(zip(estimates.chunk(2, -1), targets.chunk(2, -1), strict=True))
        for estimate, target in halves[rank::ranks]:
            chunks.update(estimate[None], target[None], torch.tensor([number]))
    return [*whole.compute().values(), chunks.compute()]


def one_rank(rank: int, folder: str) -> None:
    """One of two processes."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    torch.save(score_share(rank, 2), f"{folder}/{rank}")
    torch.distributed.destroy_process_group()


def test_two_real_processes_find_the_scores_of_one_and_both_know_them(tmp_path: Path) -> None:
    alone = score_share(0, 1)
    other = torch.multiprocessing.get_context("spawn").Process(target=one_rank, args=(1, str(tmp_path)))
    other.start()
    one_rank(0, str(tmp_path))
    other.join(60)
    assert other.exitcode == 0
    for rank in range(2):
        for ours, expected in zip(torch.load(tmp_path / str(rank), weights_only=False), alone, strict=True):
            np.testing.assert_allclose(ours.per_track, expected.per_track, rtol=1e-6)
            torch.testing.assert_close(ours[1:], expected[1:], equal_nan=True)

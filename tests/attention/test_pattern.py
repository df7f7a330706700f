"""The pair counts in closed form are the mask's, the layout's, and the paper's."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from wsa_lightning.attention import Pattern, attention_flops
from wsa_lightning.attention.blocked import executed_pairs
from wsa_lightning.errors import UserError

WINDOWS = (None, *range(1, 30))
PATTERNS = st.tuples(st.none() | st.integers(1, 700), st.just(1)) | st.tuples(st.integers(1, 700), st.integers(1, 400))
"""Window and dilation."""


@pytest.mark.parametrize("sinks", range(5))
def test_the_closed_form_counts_every_allowed_pair_of_every_small_mask(sinks: int) -> None:
    for frames in range(1, 15):
        for window in WINDOWS:
            pattern = Pattern(window, sinks)
            assert pattern.pairs(frames) == pattern.mask(frames).sum()


@given(frames=st.integers(1, 300), pattern=PATTERNS, sinks=st.integers(0, 9))
def test_the_closed_form_counts_every_allowed_pair_of_larger_masks(
    frames: int, pattern: tuple[int | None, int], sinks: int
) -> None:
    window, dilation = pattern
    own = Pattern(window, sinks, dilation)
    assert own.pairs(frames) == own.mask(frames).sum()


@given(frames=st.integers(1, 5000), pattern=PATTERNS, sinks=st.integers(0, 20))
def test_the_blocked_layout_never_runs_fewer_pairs_than_the_mask_allows(
    frames: int, pattern: tuple[int | None, int], sinks: int
) -> None:
    window, dilation = pattern
    own = Pattern(window, sinks, dilation)
    assert executed_pairs(own, frames) >= own.pairs(frames)


@given(window=st.integers(1, 200), sinks=st.integers(0, 20))
def test_twice_the_frames_cost_the_blocked_layout_about_twice_the_pairs(window: int, sinks: int) -> None:
    once, twice = (executed_pairs(Pattern(window, sinks), frames) for frames in (10_000, 20_000))
    assert 1.9 <= twice / once <= 2.1


def test_window_10_and_8_sinks_at_8_s_are_the_papers_14418_pairs_of_641601() -> None:
    full, windowed = Pattern().paper_pairs(801), Pattern(10, 8).paper_pairs(801)
    assert (full, windowed) == (641_601, 14_418)
    assert full / windowed == 44.5


def test_the_mask_itself_allows_21661_pairs_there_so_that_the_exact_reduction_is_29_6() -> None:
    # 801 rows of 11 keys less the 30 beyond either end, 8 sink columns, 8 sink rows of 809.
    assert Pattern(10, 8).pairs(801) == 801 * 11 - 30 + 801 * 8 + 8 * 809 == 21_661
    assert round(Pattern().pairs(801) / Pattern(10, 8).pairs(801), 1) == 29.6


def test_a_window_of_10_shows_a_frame_5_frames_on_either_side_itself_and_the_sinks() -> None:
    row = Pattern(window=10, sinks=3).mask(frames=40)[3 + 20]
    assert row.nonzero().ravel().tolist() == [0, 1, 2, *range(3 + 15, 3 + 26)]


def test_a_window_of_4_dilated_by_8_shows_a_frame_16_frames_on_either_side_in_steps_of_8() -> None:
    row = Pattern(window=4, sinks=3, dilation=8).mask(frames=40)[3 + 20]
    assert row.nonzero().ravel().tolist() == [0, 1, 2, *(3 + frame for frame in (4, 12, 20, 28, 36))]


@given(frames=st.integers(1, 60), window=st.integers(1, 200), dilation=st.integers(1, 80))
def test_a_pattern_narrowed_to_a_song_is_the_same_pattern_there(frames: int, window: int, dilation: int) -> None:
    own = Pattern(window, 2, dilation)
    less = own.narrowed(frames)
    assert torch.equal(less.mask(frames), own.mask(frames))
    assert less.dilation < max(frames, 2)
    assert less.window is not None
    assert less.window <= max(window if dilation == 1 else 2 * frames, 1)


def test_a_reach_beyond_all_measure_costs_no_pairs_that_are_not_there() -> None:
    alone, beyond = Pattern(1, 8, 10**9), Pattern(10**9, 8, 801)
    assert executed_pairs(alone, 801) == executed_pairs(beyond, 801) == executed_pairs(Pattern(1, 8), 801)


@given(frames=st.integers(1, 40), half=st.integers(1, 20), sinks=st.integers(0, 4))
def test_an_odd_window_reaches_as_far_as_the_even_one_below_it(frames: int, half: int, sinks: int) -> None:
    assert torch.equal(Pattern(2 * half + 1, sinks).mask(frames), Pattern(2 * half, sinks).mask(frames))


@given(frames=st.integers(1, 40), window=st.none() | st.integers(1, 90), sinks=st.integers(0, 9))
def test_who_sees_is_seen_and_sinks_see_and_are_seen_by_everyone(frames: int, window: int | None, sinks: int) -> None:
    seen = Pattern(window, sinks).mask(frames)
    assert torch.equal(seen, seen.T)
    assert seen.diagonal().all()
    assert seen[:sinks].all()


def test_a_pair_costs_4_flops_a_head_and_dimension() -> None:
    assert attention_flops(pairs=1, heads=8, dim_head=64) == 2 * (2 * 64) * 8


@pytest.mark.parametrize(
    "window, sinks, dilation", [(0, 0, 1), (-1, 0, 1), (10, -1, 1), (None, -1, 1), (10, 0, 0), (None, 0, 2)]
)
def test_a_pattern_that_cannot_be_is_an_error(window: int | None, sinks: int, dilation: int) -> None:
    with pytest.raises(UserError, match="expected"):
        Pattern(window, sinks, dilation)

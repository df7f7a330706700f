"""Where attention looks, checked against weights computed whole."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.conftest import TINY
from wsa_lightning.attention import Pattern
from wsa_lightning.attention.reference import reference
from wsa_lightning.errors import UserError
from wsa_lightning.locality import measure, recommended_window, recommended_windows
from wsa_lightning.locality.measure import MAP, HeadStatistics, Observer, even_share
from wsa_lightning.locality.recommend import even_window
from wsa_lightning.models import Roformer, transformer

RATE = TINY.sample_rate


def whole_weights(q: Tensor, k: Tensor, pattern: Pattern) -> Tensor:
    """(sequences, heads, L, L) in one piece."""
    seen = pattern.mask(q.shape[-2] - pattern.sinks)
    return (q @ k.mT / q.shape[-1] ** 0.5).masked_fill(~seen, float("-inf")).softmax(-1)


@settings(max_examples=25, deadline=None)
@given(
    frames=st.integers(1, 300),
    sinks=st.integers(0, 3),
    pattern=st.tuples(st.none() | st.integers(1, 60), st.just(1)) | st.tuples(st.integers(1, 60), st.integers(1, 20)),
    sequences=st.integers(1, 3),
)
def test_block_by_block_sums_equal_those_of_the_whole_map(
    frames: int, sinks: int, pattern: tuple[int | None, int], sequences: int
) -> None:
    window, dilation = pattern
    own = Pattern(window, sinks, dilation)
    torch.manual_seed(frames)
    q, k, v = (2 * torch.randn(sequences, 2, sinks + frames, 4) for _ in range(3))
    observer = Observer(reference)
    out = observer(q, k, v, own)
    torch.testing.assert_close(out, reference(q, k, v, own))
    found = observer.statistics("time", 0, 0)

    weights = whole_weights(q, k, own)[:, :, sinks:].double()  # (n, H, T, S + T)
    far = (torch.arange(frames)[:, None] - torch.arange(frames)).abs()
    on_frames = weights[..., sinks:]
    for reach in {0, frames // 3, frames - 1}:
        expected = (on_frames * (far <= reach)).sum(-1).mean((0, 2))
        torch.testing.assert_close(found.within[:, reach], expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(found.sinks, weights[..., :sinks].sum(-1).mean((0, 2)), atol=1e-6, rtol=1e-5)
    late = on_frames[:, :, frames // 2 :]
    torch.testing.assert_close(found.first[:, 0], late[..., 0].mean((0, 2)), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(found.entropy, torch.special.entr(weights).sum(-1).mean((0, 2)), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found.map.double() / frames, on_frames.mean((0, 1)), atol=1e-6, rtol=1e-5)


def test_a_head_that_looks_at_everything_alike_gives_the_even_curve() -> None:
    q = torch.zeros(1, 1, 200, 4)
    observer = Observer(reference)
    observer.observe(q, q, Pattern())
    found = observer.statistics("time", 0, 0)
    torch.testing.assert_close(found.within[0], even_share(200), atol=1e-6, rtol=1e-5)
    assert found.entropy.exp().item() == pytest.approx(200, rel=1e-4)
    for share in (0.5, 0.9, 0.99):
        assert recommended_window(found, share) == even_window(found, share)


def test_songs_of_different_lengths_are_averaged_over_their_queries() -> None:
    zeros = torch.zeros(1, 1, 100, 4)
    observer = Observer(reference)
    for frames in (10, 100):
        observer.observe(zeros[:, :, :frames], zeros[:, :, :frames], Pattern())
    expected = (10 * (1 / 10) + 100 * (1 / 100)) / 110
    found = observer.statistics("time", 0, 0)
    assert found.within[0, 0].item() == pytest.approx(expected)
    torch.testing.assert_close(found.within[0], found.even, atol=1e-6, rtol=1e-5)
    assert found.entropy.exp().item() == pytest.approx(found.positions, rel=1e-4)
    assert recommended_window(found, 0.9) == even_window(found, 0.9)


@pytest.mark.parametrize("frames", [40, MAP + 300])
def test_a_map_holds_multiples_of_even_attention_however_long_the_song(frames: int) -> None:
    zeros = torch.zeros(2, 2, frames, 4)
    observer = Observer(reference)
    observer.observe(zeros, zeros, Pattern())
    drawn = observer.statistics("time", 0, 0).map
    torch.testing.assert_close(drawn, torch.ones(min(frames, MAP), min(frames, MAP)), atol=1e-4, rtol=0)


def local_head(reach: int, frames: int = 400) -> HeadStatistics:
    """Statistics of one head whose weights are even within +-reach and zero beyond."""
    zeros = torch.zeros(1, 1, frames, 4)
    observer = Observer(reference)
    observer.observe(zeros, zeros, Pattern(max(1, 2 * reach)))
    return observer.statistics("time", 0, 0)


@pytest.mark.parametrize("reach", [0, 1, 5, 40])
def test_the_window_that_holds_everything_is_twice_the_reach_of_the_head(reach: int) -> None:
    assert recommended_window(local_head(reach), 1.0) == max(1, 2 * reach)


def test_a_smaller_share_asks_for_a_smaller_window() -> None:
    head = local_head(40)
    windows = [recommended_window(head, share) for share in (0.5, 0.9, 0.95, 0.99, 1.0)]
    assert windows == sorted(windows)
    assert windows[0] < 50


@pytest.mark.parametrize("share", [0, -0.5, 1.5, float("nan")])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(UserError, match="share is"):
        recommended_window(local_head(1), share)


def test_a_model_is_measured_layer_by_layer_and_left_as_it_was() -> None:
    torch.manual_seed(0)
    model = Roformer(replace(TINY, depth=2, window=4, sinks=2)).train()
    mixtures = [0.1 * torch.randn(2, RATE // 2), 0.1 * torch.randn(2, RATE // 4)]
    before = model(mixtures[0][None]).audio
    entries = measure(model, mixtures)
    assert [(e.layer, e.axis) for e in entries] == [(0, "time"), (0, "frequency"), (1, "time"), (1, "frequency")]
    for entry in entries:
        torch.testing.assert_close(
            entry.within[:, -1] + entry.sinks, torch.ones(2, dtype=torch.float64), atol=1e-5, rtol=0
        )
    assert all(float(e.sinks.min()) > 0 for e in entries if e.axis == "time")
    assert all(float(e.sinks.max()) == 0 for e in entries if e.axis == "frequency")
    assert len(recommended_windows(entries, 0.95)) == 2
    assert max(recommended_windows(entries, 1.0)) <= 4
    assert model.training
    torch.testing.assert_close(model(mixtures[0][None]).audio, before, atol=0, rtol=0)


def test_a_model_that_works_part_by_part_gives_the_maps_of_all_parts_and_of_the_first_song_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    model = Roformer(replace(TINY, depth=2, window=4, sinks=2))
    mixtures = [0.1 * torch.randn(2, RATE // 2), 0.1 * torch.randn(2, RATE // 4)]
    whole = measure(model, mixtures[:1])
    monkeypatch.setattr(transformer, "NUMBERS_AT_A_TIME", 1)
    for found, expected in zip(measure(model, mixtures), whole, strict=True):
        torch.testing.assert_close(found.map, expected.map, atol=1e-6, rtol=1e-5)


def test_the_backends_are_put_back_when_a_song_breaks_the_run() -> None:
    model = Roformer(TINY)

    def songs():
        yield 0.1 * torch.randn(2, 4000)
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        measure(model, songs())
    assert all(block.attention.backend == "auto" for layer in model.layers for block in layer.time.blocks)

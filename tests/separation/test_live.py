"""The live form gives the samples of the offline one, a little later, and holds no more the longer it runs."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.conftest import TINY
from wsa_lightning.errors import UserError
from wsa_lightning.models import Roformer, RoformerConfig
from wsa_lightning.separation import LiveSeparator

STUDENT = replace(TINY, depth=2, window=6)
BAND_SPLIT = replace(
    STUDENT,
    window=[2, 8],
    family="band_split",
    win_length=1024,
    time_blocks=2,
    zero_dc=False,
    stems=("vocals", "drums"),
)


def student(config: RoformerConfig) -> Roformer:
    torch.manual_seed(0)
    return Roformer(config).eval()


def pieces(mixture: Tensor, sizes: list[int]) -> Iterator[Tensor]:
    start = turn = 0
    while start < mixture.shape[-1]:
        size = sizes[turn % len(sizes)]
        yield mixture[:, start : start + size]
        start, turn = start + size, turn + 1


def live(separator: LiveSeparator, mixture: Tensor, sizes: list[int]) -> Tensor:
    return torch.cat([*(separator.push(piece) for piece in pieces(mixture, sizes)), separator.flush()], dim=-1)


DILATED = replace(STUDENT, window=[2, 4], dilation=[1, 3])
MODELS = {"mel_band": student(STUDENT), "band_split": student(BAND_SPLIT), "dilated": student(DILATED)}


@settings(deadline=None, max_examples=18)
@given(
    family=st.sampled_from(list(MODELS)),
    samples=st.one_of(st.integers(1, 3000), st.integers(3000, 12000)),
    sizes=st.lists(st.integers(1, 9000), min_size=1, max_size=4).filter(lambda sizes: max(sizes) > 300),
    step_frames=st.integers(1, 9),
)
def test_without_sinks_the_samples_are_those_of_the_whole_song_offline(
    family: str, samples: int, sizes: list[int], step_frames: int
) -> None:
    model, mixture = MODELS[family], torch.randn(2, samples)
    with torch.no_grad():
        offline = model(mixture[None]).audio[0]
    out = live(LiveSeparator(model, step_frames=step_frames), mixture, sizes)
    torch.testing.assert_close(out, offline, rtol=0, atol=1e-5)


def test_with_sinks_what_comes_out_does_not_depend_on_how_it_was_pushed() -> None:
    separator = LiveSeparator(student(replace(STUDENT, sinks=3)), memory_seconds=0.2)
    mixture = torch.randn(2, 30000)
    one, other = live(separator, mixture, [30000]), live(separator, mixture, [7, 5000, 441])
    torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


def test_sinks_change_what_comes_out_and_remember_no_more_than_they_are_told() -> None:
    model = student(replace(STUDENT, sinks=3))
    mixture = torch.randn(2, 25000)
    changed = mixture.clone()
    changed[:, :4000] = 0
    outs = {}
    for memory in (0.1, 2.0):
        separator = LiveSeparator(model, memory_seconds=memory, step_frames=4)
        difference = live(separator, mixture, [10000]) - live(separator, changed, [10000])
        outs[memory] = float(difference[..., -4000:].abs().max())
    assert outs[0.1] <= 1e-6 < outs[2.0]


def test_a_sample_is_late_by_what_latency_ms_says_at_most_and_a_step_less_at_least() -> None:
    separator = LiveSeparator(student(STUDENT), step_frames=4)
    mixture = torch.randn(2, 40000)
    late, pushed, returned = [], 0, 0
    for piece in pieces(mixture, [63]):
        out = separator.push(piece).shape[-1]
        pushed, returned = pushed + 63, returned + out
        if returned:
            late.append(pushed - returned)
    assert max(late) <= separator.latency_samples + 63
    assert max(late) > separator.latency_samples - STUDENT.hop_length
    assert separator.latency_ms == pytest.approx(1000 * (6 * 441 + 2048 + 3 * 441) / 44100)


def test_its_state_is_bounded() -> None:
    separator = LiveSeparator(student(replace(STUDENT, sinks=2)), memory_seconds=0.3)
    sizes = []
    for _ in range(30):
        separator.push(torch.randn(2, 4410))
        sizes.append(held(separator))
    assert max(sizes[15:]) <= max(sizes[:15])


def held(thing: Any, seen: set[int] | None = None) -> int:
    """Bytes of all tensors reachable from an object, the model's own aside."""
    seen = set() if seen is None else seen
    if id(thing) in seen or isinstance(thing, torch.nn.Module):
        return 0
    seen.add(id(thing))
    if isinstance(thing, Tensor):
        return thing.untyped_storage().nbytes()
    children = thing if isinstance(thing, list) else vars(thing).values() if hasattr(thing, "__dict__") else ()
    return sum(held(child, seen) for child in children)


def test_an_empty_stream_has_no_stems_and_a_separator_can_be_used_again() -> None:
    separator = LiveSeparator(student(STUDENT))
    assert separator.flush().shape == (1, 2, 0)
    mixture = torch.randn(2, 5000)
    torch.testing.assert_close(live(separator, mixture, [999]), live(separator, mixture, [999]), rtol=0, atol=0)


def test_what_it_cannot_do_is_refused() -> None:
    with pytest.raises(UserError, match="window is null"):
        LiveSeparator(student(TINY))
    with pytest.raises(UserError, match="step_frames"):
        LiveSeparator(student(STUDENT), step_frames=0)
    separator = LiveSeparator(student(STUDENT))
    with pytest.raises(UserError, match=r"\(1, 10\)"):
        separator.push(torch.zeros(1, 10))
    with pytest.raises(UserError, match="NaN"):
        separator.push(torch.full((2, 10), float("nan")))

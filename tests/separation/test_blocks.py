"""Blocks cover a song once, fade without a seam, and a student's halo is what it needs and no less."""

import itertools
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.conftest import TINY
from wsa_lightning.errors import UserError
from wsa_lightning.models import Roformer, RoformerConfig
from wsa_lightning.separation import cost_factor, plan_blocks, receptive_frames, separate
from wsa_lightning.separation.blocks import BlockPlan, cut, join, receptive_samples

STUDENT = replace(TINY, depth=2, window=[4, 16], sinks=0)
DILATED = replace(STUDENT, window=[4, 6], dilation=[1, 5])
PLANS = st.one_of(
    st.builds(
        lambda length, overlap: BlockPlan(length, length // overlap, ramp=length // 2 if overlap > 1 else 0),
        st.integers(5, 400),
        st.integers(1, 5),
    ),
    st.builds(
        lambda step, shared, halo, hop: BlockPlan(
            (step + shared) * hop, step * hop, hop, halo, shared * hop - 2 * halo
        ),
        st.integers(1, 20),
        st.integers(2, 9),
        st.integers(0, 5),
        st.integers(6, 12),
    ),
)


@settings(deadline=None, max_examples=100)
@given(samples=st.integers(0, 3000), plan=PLANS, piece=st.integers(1, 700))
def test_blocks_joined_again_are_the_song_however_it_arrives(samples: int, plan: BlockPlan, piece: int) -> None:
    song = torch.randn(1, 2, samples)
    blocks = list(cut(song.split(piece, dim=-1) if samples else [], plan))
    assert all(block.start % plan.grid == 0 for block in blocks)
    assert all(one.start < other.start for one, other in itertools.pairwise(blocks))
    assert all(block.audio.shape[-1] <= plan.length + plan.grid for block in blocks)
    again = torch.cat([torch.zeros(1, 2, 0), *join(((block, block.audio) for block in blocks), plan)], dim=-1)
    torch.testing.assert_close(again, song, rtol=0, atol=1e-6)


def test_a_students_blocks_overlap_by_9_percent_and_a_teachers_by_half() -> None:
    paper = RoformerConfig(window=10, sinks=8)
    assert receptive_frames(paper) == 6 * 5
    assert receptive_frames(replace(paper, window=[2, 4, 6, 8, 10, 12])) == 1 + 2 + 3 + 4 + 5 + 6
    assert receptive_frames(replace(paper, dilation=[1, 1, 1, 1, 2, 8])) == 4 * 5 + 10 + 40
    assert cost_factor(paper) == pytest.approx(1.0925, abs=0.001)
    assert cost_factor(replace(paper, window=None, sinks=0)) == 2
    assert cost_factor(replace(paper, window=[10, 10, 10, 10, 10, None])) == 2, "one full layer hears everything"
    assert cost_factor(paper, overlap=4) == 4
    assert cost_factor(paper, chunk_seconds=60) < 1.02


def test_a_block_is_as_long_as_what_the_model_was_trained_on_and_a_students_8_s_at_least() -> None:
    assert plan_blocks(replace(TINY, chunk_seconds=3.0)).length == 3 * 44100
    assert plan_blocks(replace(STUDENT, chunk_seconds=3.0), overlap=2).length == 3 * 44100
    for trained, expected in ((3.0, 8), (12.0, 12)):
        student = plan_blocks(replace(STUDENT, chunk_seconds=trained))
        assert student.step == expected * 44100
        assert student.length == student.step + 2 * student.halo + student.ramp


@pytest.mark.parametrize(("chunk", "overlap"), [(0, None), (-1, None), (float("inf"), None), (2, 0), (2, -3)])
def test_a_chunk_or_an_overlap_that_is_not_positive_is_refused(chunk: float, overlap: int | None) -> None:
    with pytest.raises(UserError, match=r"expected .*(positive|or more)"):
        plan_blocks(TINY, chunk, overlap)


@pytest.fixture(params=[STUDENT, DILATED], ids=["plain", "dilated"])
def student(request: pytest.FixtureRequest) -> Roformer:
    torch.manual_seed(0)
    return Roformer(request.param).eval()


@pytest.mark.parametrize("samples", [44100, 44101, 70001])
@pytest.mark.parametrize("chunk_seconds", [0.05, 0.2])
def test_a_student_without_sinks_gives_in_blocks_what_it_gives_for_the_whole_song(
    samples: int, chunk_seconds: float, student: Roformer
) -> None:
    mixture = torch.randn(2, samples)
    with torch.no_grad():
        whole = student(mixture[None]).audio[0]
    blocks = separate(student, mixture, 44100, chunk_seconds=chunk_seconds, batch_size=3)
    assert plan_blocks(student.config, chunk_seconds).length < samples, "else there is only one block"
    torch.testing.assert_close(blocks, whole, rtol=0, atol=1e-5)


def test_a_halo_shorter_than_the_receptive_field_would_be_heard(
    student: Roformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixture = torch.randn(2, 60000)
    with torch.no_grad():
        whole = student(mixture[None]).audio[0]
    short = receptive_samples(student.config) - 4 * STUDENT.hop_length
    monkeypatch.setattr("wsa_lightning.separation.blocks.receptive_samples", lambda config: short)
    blocks = separate(student, mixture, 44100, chunk_seconds=0.1)
    assert float((blocks - whole).abs().max()) > 1e-5


def test_memory_held_by_the_cutter_does_not_grow_with_the_song() -> None:
    plan = BlockPlan(length=1000, step=500, ramp=500)
    read = 0

    def source() -> Iterator[Tensor]:
        nonlocal read
        for _ in range(1000):
            read += 100
            yield torch.zeros(1, 2, 100)

    for block in cut(source(), plan):
        assert read - block.start <= plan.length + plan.step + 100
        assert block.audio.untyped_storage().nbytes() <= 4 * 2 * (plan.length + 2 * plan.step + 100)

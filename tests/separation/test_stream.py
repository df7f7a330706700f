"""Songs of any length come back whole: same length, no seams."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.conftest import TINY
from tests.separation.conftest import Identity
from wsa_lightning.errors import UserError
from wsa_lightning.models import Roformer, RoformerConfig, Separated
from wsa_lightning.separation import separate, separate_stream

STUDENT = replace(TINY, window=6, sinks=2)


@st.composite
def cuts(draw: st.DrawFn) -> tuple[int, float]:
    """Samples of a song, and seconds of a block: songs up to a minute, a block up to 30 s, at most 400 blocks."""
    chunk_seconds = draw(st.floats(0.001, 0.05) | st.floats(0.05, 30))
    most = min(60 * 44100, round(400 * max(chunk_seconds, 0.01) * 44100))
    return draw(st.integers(1, 3) | st.integers(1, most)), chunk_seconds


@settings(deadline=None, max_examples=60)
@given(
    cut=cuts(),
    overlap=st.sampled_from([None, 1, 2, 3, 5]),
    batch_size=st.integers(1, 4),
    config=st.sampled_from([TINY, STUDENT]),
)
def test_an_identity_model_returns_its_input(
    cut: tuple[int, float], overlap: int | None, batch_size: int, config: RoformerConfig
) -> None:
    samples, chunk_seconds = cut
    mixture = torch.rand(2, samples) * 2 - 1
    options = {"chunk_seconds": chunk_seconds, "overlap": overlap, "batch_size": batch_size}
    out = separate(Identity(config), mixture, 44100, **options)  # type: ignore[arg-type]
    assert out.shape == (1, 2, samples)
    assert float((out[0] - mixture).abs().max()) <= 1e-6


@pytest.mark.parametrize("config", [TINY, STUDENT], ids=["teacher", "student"])
def test_an_identity_model_returns_10_minutes_of_song(config: RoformerConfig) -> None:
    mixture = (torch.rand(2, 44100) * 2 - 1).repeat(1, 600)
    out = separate(Identity(config), mixture, 44100)  # type: ignore[arg-type]
    assert out.shape == (1, *mixture.shape)
    assert float(out[0].sub_(mixture).abs_().max()) <= 1e-6


@pytest.mark.parametrize("samples", [1, 2, 440, 441, 1023, 1024, 1025, 2048, 44100, 44101])
def test_a_model_gives_back_exactly_the_length_it_got(samples: int) -> None:
    model = Roformer(STUDENT).eval()
    with torch.no_grad():
        audio = model(torch.randn(1, 2, samples)).audio
    assert audio.shape == (1, 1, 2, samples)
    assert torch.isfinite(audio).all()
    assert separate(model, torch.randn(2, samples), 44100).shape == (1, 2, samples)


def test_silence_stays_silent_and_finite() -> None:
    out = separate(Roformer(TINY), torch.zeros(2, 5000), 44100)
    assert torch.equal(out, torch.zeros(1, 2, 5000))


def test_batches_change_nothing() -> None:
    torch.manual_seed(0)
    model, mixture = Roformer(STUDENT), torch.randn(2, 60000)
    one, four = (separate(model, mixture, 44100, chunk_seconds=0.2, batch_size=size) for size in (1, 4))
    torch.testing.assert_close(one, four, rtol=0, atol=1e-5)


def test_songs_side_by_side_are_separated_as_if_alone() -> None:
    torch.manual_seed(0)
    model, songs = Roformer(STUDENT), torch.randn(3, 2, 30000)
    together = torch.cat(list(separate_stream(model, [songs], chunk_seconds=0.2, batch_size=2)), dim=-1)
    alone = torch.stack([separate(model, song, 44100, chunk_seconds=0.2) for song in songs])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_half_precision_is_used_and_is_near(precision: str) -> None:
    torch.manual_seed(0)
    model, mixture = Roformer(STUDENT), torch.randn(2, 20000)
    full = separate(model, mixture, 44100)
    half = separate(model, mixture, 44100, precision=precision)  # type: ignore[arg-type]
    assert half.dtype == torch.float32
    assert 0 < float((half - full).norm() / full.norm()) < 0.05


def test_a_model_keeps_its_mode() -> None:
    model = Roformer(TINY).train()
    separate(model, torch.randn(2, 3000), 44100)
    assert model.training


@pytest.mark.parametrize(
    ("shape", "rate", "words"),
    [((2, 100), 48000, "48000"), ((1, 100), 44100, r"\(1, 100\)"), ((2, 0), 44100, r"\(2, 0\)")],
)
def test_what_does_not_fit_the_model_is_refused(shape: tuple[int, int], rate: int, words: str) -> None:
    with pytest.raises(UserError, match=words):
        separate(Roformer(TINY), torch.zeros(shape), rate)


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"precision": "16"}, {"overlap": 0}, {"chunk_seconds": 0}])
def test_an_option_out_of_range_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(UserError, match=next(iter(options))):
        separate(Roformer(TINY), torch.zeros(2, 100), 44100, **options)  # type: ignore[arg-type]


def test_a_mixture_that_is_not_finite_is_refused_with_the_place() -> None:
    mixture = torch.zeros(2, 44100)
    mixture[1, 22050] = float("inf")
    with pytest.raises(UserError, match=r"at 0\.500 s"):
        separate(Roformer(TINY), mixture, 44100)


def test_a_model_that_returns_nan_is_not_written_as_music() -> None:
    class Broken(Identity):
        def forward(self, mixture: Tensor) -> Separated:
            return Separated(mixture[:, None] * float("nan"), mixture)

    broken: nn.Module = Broken()
    with pytest.raises(UserError, match="the model returned NaN"):
        separate(broken, torch.zeros(2, 100), 44100)  # type: ignore[arg-type]

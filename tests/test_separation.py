"""Songs of any length come back whole: same length, no seams."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.conftest import TINY
from wsa_lightning.errors import UserError
from wsa_lightning.models import Roformer, Separated
from wsa_lightning.separation import separate


class Identity(nn.Module):
    """A model whose estimate is the mixture."""

    def __init__(self) -> None:
        super().__init__()
        self.config = TINY
        self.parameter = nn.Parameter(torch.zeros(1))

    def forward(self, mixture: Tensor) -> Separated:
        return Separated(mixture[:, None], mixture)


@settings(deadline=None, max_examples=60)
@given(
    samples=st.integers(1, 30000),
    chunk_seconds=st.sampled_from([0.01, 0.05, 0.2, 1.0]),
    overlap=st.integers(1, 5),
    batch_size=st.integers(1, 4),
)
def test_an_identity_model_returns_its_input(samples: int, chunk_seconds: float, overlap: int, batch_size: int) -> None:
    mixture = torch.randn(2, samples)
    out = separate(
        Identity(),
        mixture,
        44100,
        chunk_seconds=chunk_seconds,
        overlap=overlap,
        batch_size=batch_size,  # type: ignore[arg-type]
    )
    assert out.shape == (1, 2, samples)
    torch.testing.assert_close(out[0], mixture, rtol=0, atol=1e-6)


@pytest.mark.parametrize("samples", [1, 2, 440, 441, 1023, 1024, 1025, 2048, 44100, 44101])
def test_a_model_gives_back_exactly_the_length_it_got(samples: int) -> None:
    model = Roformer(replace(TINY, window=6, sinks=2)).eval()
    with torch.no_grad():
        audio = model(torch.randn(1, 2, samples)).audio
    assert audio.shape == (1, 1, 2, samples)
    assert torch.isfinite(audio).all()


def test_silence_stays_silent_and_finite() -> None:
    out = separate(Roformer(TINY), torch.zeros(2, 5000), 44100)
    assert torch.equal(out, torch.zeros(1, 2, 5000))


@pytest.mark.parametrize(
    ("shape", "rate", "words"),
    [((2, 100), 48000, "48000"), ((1, 100), 44100, r"\(1, 100\)"), ((2, 0), 44100, r"\(2, 0\)")],
)
def test_what_does_not_fit_the_model_is_refused(shape: tuple[int, int], rate: int, words: str) -> None:
    with pytest.raises(UserError, match=words):
        separate(Roformer(TINY), torch.zeros(shape), rate)

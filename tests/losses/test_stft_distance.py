"""The one-pass STFT distance is the plain formula, gradients included."""

import pytest
import torch
from torch import Tensor

from wsa_lightning.losses.stft_distance import HOP, MIN_FFT, WINDOWS, multi_resolution_stft_distance


def plain(estimate: Tensor, target: Tensor) -> Tensor:
    """The loss as the public training code writes it."""
    total = torch.zeros(())
    for window in WINDOWS:
        both = [
            torch.stft(
                audio.flatten(0, -2),
                n_fft=max(window, MIN_FFT),
                hop_length=HOP,
                win_length=window,
                window=torch.hann_window(window),
                return_complex=True,
            )
            for audio in (estimate, target)
        ]
        total = total + (both[0] - both[1]).abs().mean()
    return total


@pytest.mark.parametrize("samples", [2049, 4410, 8000, 22051])
def test_value_and_gradient_equal_the_plain_formula(samples: int) -> None:
    torch.manual_seed(samples)
    estimate = torch.randn(2, 1, 2, samples, requires_grad=True)
    target = torch.randn(2, 1, 2, samples)
    ours, theirs = multi_resolution_stft_distance(estimate, target), plain(estimate, target)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=0)
    (our_slope,), (their_slope,) = (
        torch.autograd.grad(3 * ours, estimate),
        torch.autograd.grad(3 * theirs, estimate),
    )
    assert (our_slope - their_slope).norm() <= 1e-5 * their_slope.norm()


def test_equal_signals_have_distance_zero_and_a_finite_gradient() -> None:
    audio = torch.randn(1, 1, 2, 6000, requires_grad=True)
    distance = multi_resolution_stft_distance(audio, audio.detach().clone())
    distance.backward()
    assert distance == 0
    assert audio.grad is not None and torch.isfinite(audio.grad).all()

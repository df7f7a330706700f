"""The multi-resolution STFT distance, value and gradient in one pass.

With autograd this loss costs as much as the forward and backward pass of a small student together: it keeps five
spectrograms at hop 147 in memory and computes a full complex FFT of each in the backward pass. Three facts make it
cheap:

- the STFT is linear: |STFT(a) - STFT(b)| needs one transform, of a - b;
- the gradient of a scalar can be computed with its value: d|X| = X / |X|, followed by the inverse real FFT;
- all windows up to 2048 use the same frames, so their gradients need only one overlap-add.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

WINDOWS = (4096, 2048, 1024, 512, 256)
HOP = 147
MIN_FFT = 2048


def multi_resolution_stft_distance(estimate: Tensor, target: Tensor) -> Tensor:
    """Sum over ``WINDOWS`` of the mean |STFT(estimate) - STFT(target)|, a scalar in fp32.

    Args:
        estimate: audio (..., N), N > 2048, which reflection at the borders of the widest window needs.
        target: the same shape; it gets no gradient.

    Each STFT: hop 147, periodic Hann of the window's length, n_fft = max(window, 2048), centred, reflected.
    """
    with torch.autocast(estimate.device.type, enabled=False):
        difference = (estimate.float() - target.detach().float()).flatten(0, -2)  # (signals, N)
        distance: Tensor = _StftMagnitude.apply(difference)  # type: ignore[no-untyped-call]
        return distance


class _StftMagnitude(Function):
    """Sum over windows of the mean STFT magnitude of real signals (signals, N)."""

    @staticmethod
    def forward(ctx: Any, signals: Tensor) -> Tensor:
        value = signals.new_zeros((), dtype=torch.float64 if signals.device.type == "cpu" else torch.float32)
        gradient = torch.zeros_like(signals)
        for n_fft in sorted({max(window, MIN_FFT) for window in WINDOWS}):
            windows = [_padded_hann(window, n_fft, signals) for window in WINDOWS if max(window, MIN_FFT) == n_fft]
            # One signal at a time, so that its spectra fit into the CPU's cache.
            for signal, signal_gradient in zip(signals, gradient, strict=True):
                one_value, one_gradient = _one_signal(signal, n_fft, windows)
                value += one_value / len(signals)
                signal_gradient += one_gradient / len(signals)
        ctx.save_for_backward(gradient)
        return value.float()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> Tensor:
        (gradient,) = ctx.saved_tensors
        return gradient * upstream


def _padded_hann(window: int, n_fft: int, like: Tensor) -> Tensor:
    left = (n_fft - window) // 2
    return F.pad(torch.hann_window(window, device=like.device), (left, n_fft - window - left))


def _one_signal(signal: Tensor, n_fft: int, windows: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Value and gradient of the sum over ``windows`` of the mean magnitude, for one signal (N,)."""
    padded = F.pad(signal[None, None], (n_fft // 2, n_fft // 2), mode="reflect")[0, 0]  # (n_fft / 2 + N + n_fft / 2)
    frames = padded.unfold(0, n_fft, HOP)  # (T, n_fft)
    # The inverse real FFT counts every bin but the first and last twice, and divides by n_fft.
    undo = torch.full((n_fft // 2 + 1,), n_fft / 2, device=signal.device)
    undo[0] = undo[-1] = n_fft
    value, gradient = signal.new_zeros(()), torch.zeros_like(frames)
    for window in windows:
        spectrum = torch.fft.rfft(frames * window)  # (T, F)
        magnitude = spectrum.abs()
        value = value + magnitude.mean()
        direction = spectrum.mul_(undo / magnitude.clamp_min_(1e-30) / magnitude.numel())
        gradient += torch.fft.irfft(direction, n=n_fft).mul_(window)
    return value, _unreflect(_overlap_add(gradient, padded.shape[0]), n_fft // 2)


def _overlap_add(frames: Tensor, length: int) -> Tensor:
    """The adjoint of ``unfold``: frames (T, n_fft), ``HOP`` apart, summed into (length,)."""
    count, n_fft = frames.shape
    pieces = -(-n_fft // HOP)
    columns = F.pad(frames, (0, pieces * HOP - n_fft)).unflatten(-1, (pieces, HOP))  # (T, pieces, HOP)
    total = frames.new_zeros(count + pieces, HOP)
    for piece in range(pieces):
        total[piece : piece + count] += columns[:, piece]
    return F.pad(total.flatten(), (0, max(0, length - total.numel())))[:length]


def _unreflect(padded: Tensor, border: int) -> Tensor:
    """The adjoint of reflection padding by ``border`` at both ends."""
    inner = padded[border:-border].clone()
    inner[1 : border + 1] += padded[:border].flip(0)
    inner[-border - 1 : -1] += padded[-border:].flip(0)
    return inner

"""The one-pass STFT loss against the plain formula under autograd, in turn, in one process.

Example: python benchmarks/stft_loss.py --seconds 2 --batch 4
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from wsa_lightning.losses.stft_distance import HOP, MIN_FFT, WINDOWS, multi_resolution_stft_distance


def plain(estimate: Tensor, target: Tensor) -> Tensor:
    """The loss as the public training code writes it: two transforms a window, autograd for the slope."""
    total = estimate.new_zeros(())
    for window in WINDOWS:
        options = {
            "n_fft": max(window, MIN_FFT),
            "hop_length": HOP,
            "win_length": window,
            "window": torch.hann_window(window),
            "return_complex": True,
        }
        one, other = (torch.stft(audio.flatten(0, -2), **options) for audio in (estimate, target))
        total = total + (one - other).abs().mean()
    return total


def seconds_of(loss: Callable[[Tensor, Tensor], Tensor], estimate: Tensor, target: Tensor) -> float:
    """Wall time of one forward and backward pass."""
    start = time.perf_counter()
    loss(estimate, target).backward()
    return time.perf_counter() - start


def main() -> None:
    """Print minimum and median of both, and the ratio of the medians."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    shape = (arguments.batch, 1, 2, round(44100 * arguments.seconds))
    estimate, target = torch.randn(shape, requires_grad=True), torch.randn(shape)
    times: dict[str, list[float]] = {"one pass": [], "plain": []}
    for run in range(arguments.runs + 1):
        for name, loss in (("one pass", multi_resolution_stft_distance), ("plain", plain)):
            elapsed = seconds_of(loss, estimate, target)
            if run:  # the first round warms up
                times[name].append(elapsed)
    medians = {name: statistics.median(values) for name, values in times.items()}
    print(f"plain / one pass: {medians['plain'] / medians['one pass']:.2f}x  ({torch.get_num_threads()} threads)")
    for name, values in times.items():
        print(f"{name:>9}: min {min(values):.3f} s, median {medians[name]:.3f} s of {len(values)}")


if __name__ == "__main__":
    main()

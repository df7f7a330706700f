"""Between a file's audio and a model's: sample rate and channels, there and back, in pieces."""

from collections.abc import Iterable, Iterator

import numpy as np
import soxr
import torch
from numpy.typing import NDArray
from torch import Tensor

Pieces = Iterable[NDArray[np.float32]]


def resampled(pieces: Pieces, channels: int, source: int, target: int) -> Iterator[NDArray[np.float32]]:
    """Pieces (any, channels) at ``source`` Hz as pieces at ``target`` Hz, in time with each other (soxr, VHQ)."""
    if source == target:
        yield from pieces
        return
    stream = soxr.ResampleStream(source, target, channels, dtype="float32", quality="VHQ")
    for piece in pieces:
        yield stream.resample_chunk(np.ascontiguousarray(piece, np.float32))
    yield stream.resample_chunk(np.zeros((0, channels), np.float32), last=True)


def to_groups(piece: NDArray[np.float32], channels: int) -> Tensor:
    """A file's channels (n, any) as songs of ``channels`` each, (G, channels, n); the last channel is repeated."""
    audio = torch.from_numpy(np.array(piece.T, order="C"))  # (any, n); a copy, because what ffmpeg gave is read-only
    missing = -len(audio) % channels
    audio = torch.cat((audio, audio[-1:].expand(missing, -1)))
    return audio.unflatten(0, (-1, channels))


def from_groups(stems: Tensor, channels: int) -> NDArray[np.float32]:
    """The reverse for stems, (G, stems, C, n) -> (n, stems, channels): a repeated channel is averaged."""
    audio = stems.transpose(0, 1).flatten(1, 2).float().cpu()  # (stems, G C, n)
    doubled = audio[:, channels - 1 :].mean(1, keepdim=True)
    audio = torch.cat((audio[:, : channels - 1], doubled), dim=1)  # (stems, channels, n)
    return np.ascontiguousarray(audio.permute(2, 0, 1).numpy())

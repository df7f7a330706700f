"""Whole songs to stems: overlapping chunks, cross-faded, any length in and the same length out."""

import torch
from torch import Tensor

from wsa_lightning.errors import UserError
from wsa_lightning.models import Roformer


@torch.no_grad()
def separate(
    model: Roformer,
    mixture: Tensor,
    sample_rate: int,
    *,
    chunk_seconds: float = 8.0,
    overlap: int = 2,
    batch_size: int = 1,
) -> Tensor:
    """Separate a song of any length.

    The song is cut into chunks, each sample lies in ``overlap`` of them, and their estimates are averaged with
    a linear fade, so that a model that returns its input gives the song back.

    Args:
        model: on any device; the result lies on the device of ``mixture``.
        mixture: (C, N), N >= 1.
        sample_rate: of ``mixture``, in Hz; must be the model's.
        chunk_seconds: length of a chunk.
        overlap: chunks a sample lies in; 1 is no overlap.
        batch_size: chunks computed at once.

    Returns:
        (stems, C, N), exactly N.

    Raises:
        UserError: another sample rate or number of channels, an empty mixture, an overlap below 1.
    """
    config = model.config
    if sample_rate != config.sample_rate:
        raise UserError(
            f"sample rate is {sample_rate} Hz: expected {config.sample_rate} Hz, the model's; resample first"
        )
    if mixture.ndim != 2 or mixture.shape[0] != config.channels or mixture.shape[1] < 1:
        raise UserError(f"mixture has shape {tuple(mixture.shape)}: expected ({config.channels}, samples >= 1)")
    if overlap < 1 or batch_size < 1 or chunk_seconds <= 0:
        raise UserError(
            f"chunk_seconds {chunk_seconds}, overlap {overlap}, batch_size {batch_size}: expected all positive"
        )
    device = next(model.parameters()).device
    samples = mixture.shape[-1]
    chunk = min(samples, max(overlap, round(chunk_seconds * sample_rate)))
    fade = linear_fade(chunk, overlap).to(mixture.device)
    starts = chunk_starts(samples, chunk, max(1, chunk // overlap))

    total = mixture.new_zeros(len(config.stems), config.channels, samples)
    weight = mixture.new_zeros(samples)
    was_training = model.training
    model.eval()
    try:
        for first in range(0, len(starts), batch_size):
            batch = starts[first : first + batch_size]
            chunks = torch.stack([mixture[:, start : start + chunk] for start in batch])
            audio = model(chunks.to(device)).audio.to(total)  # (batch, stems, C, chunk)
            for start, estimate in zip(batch, audio, strict=True):
                total[..., start : start + chunk] += estimate * fade
                weight[start : start + chunk] += fade
    finally:
        model.train(was_training)
    return total / weight


def chunk_starts(samples: int, chunk: int, step: int) -> list[int]:
    """First samples of the chunks: ``step`` apart, the last one moved back so that it ends with the song."""
    starts = list(range(0, max(1, samples - chunk + 1), step))
    if starts[-1] + chunk < samples:
        starts.append(samples - chunk)
    return starts


def linear_fade(chunk: int, overlap: int) -> Tensor:
    """Weight of a chunk's samples, (chunk,), always positive: a triangle; flat where chunks do not overlap."""
    if overlap == 1:
        return torch.ones(chunk)
    position = torch.arange(chunk) + 0.5
    return torch.minimum(position, chunk - position)

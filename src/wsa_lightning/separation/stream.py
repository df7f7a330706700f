"""Block by block: a whole song in memory, or pieces in and pieces out in memory that does not depend on its length."""

import contextlib
import itertools
from collections.abc import Iterable, Iterator
from typing import Literal, TypedDict, get_args

import torch
from torch import Tensor
from typing_extensions import Unpack

from wsa_lightning.errors import UserError
from wsa_lightning.models import Roformer
from wsa_lightning.models.roformer import evaluating
from wsa_lightning.separation.blocks import Block, cut, join, plan_blocks

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
_AUTOCAST = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
_PIECE = 1 << 18


class SeparationOptions(TypedDict, total=False):
    """How the model is run on blocks of a song, see ``separate_stream``."""

    chunk_seconds: float | None
    overlap: int | None
    batch_size: int
    precision: Precision | None


def separate(model: Roformer, mixture: Tensor, sample_rate: int, **options: Unpack[SeparationOptions]) -> Tensor:
    """Separate a song of any length in memory.

    A model that returns its input gives the song back, and a windowed student without sinks gives what it gives for the
    whole song at once.

    Args:
        model: on any device; the result lies on the device of ``mixture``.
        mixture: (C, N), N >= 1.
        sample_rate: of ``mixture``, in Hz; must be the model's.
        options: ``chunk_seconds``, ``overlap``, ``batch_size``, ``precision``; see ``separate_stream``.

    Returns:
        (stems, C, N), exactly N.

    Raises:
        UserError: another sample rate or number of channels, an empty or not finite mixture, an option out of range.
    """
    config = model.config
    if sample_rate != config.sample_rate:
        raise UserError(
            f"sample rate is {sample_rate} Hz: expected {config.sample_rate} Hz, the model's; resample first"
        )
    if mixture.ndim != 2 or mixture.shape[0] != config.channels or mixture.shape[1] < 1:
        raise UserError(f"mixture has shape {tuple(mixture.shape)}: expected ({config.channels}, samples >= 1)")
    stems = mixture.new_empty(len(config.stems), *mixture.shape)
    done = 0
    for piece in separate_stream(model, mixture[None].split(_PIECE, dim=-1), **options):
        stems[..., done : done + piece.shape[-1]] = piece[0]
        done += piece.shape[-1]
    return stems


def separate_stream(
    model: Roformer,
    source: Iterable[Tensor],
    *,
    chunk_seconds: float | None = None,
    overlap: int | None = None,
    batch_size: int = 1,
    precision: Precision | None = None,
) -> Iterator[Tensor]:
    """Separate audio at the model's sample rate while it arrives.

    Args:
        model: on any device.
        source: pieces (G, C, any) of G songs of equal length side by side, on any device.
        chunk_seconds: length of a block; None is the length trained on, at least 8 s for a student (``plan_blocks``).
        overlap: blocks that a sample lies in; None is 2 for full attention, the halo it needs for a student.
        batch_size: blocks computed at once.
        precision: as the Trainer names it; None leaves a surrounding autocast as it is.

    Yields:
        Pieces (G, stems, C, any) on the device of the source, in order; together exactly as long as the source.

    Raises:
        UserError: NaN or infinity in the source, or from the model; arguments out of range.
    """
    if batch_size < 1:
        raise UserError(f"batch_size is {batch_size}: expected at least 1")
    if precision is not None and precision not in get_args(Precision):
        raise UserError(f"precision is {precision!r}: expected one of {', '.join(get_args(Precision))}")
    plan = plan_blocks(model.config, chunk_seconds, overlap)
    blocks = _finite(cut(source, plan), model.config.sample_rate)
    return join(_estimates(model, blocks, batch_size, precision), plan)


def _estimates(
    model: Roformer, blocks: Iterable[Block], batch_size: int, precision: Precision | None
) -> Iterator[tuple[Block, Tensor]]:
    """Run blocks of equal length through the model, ``batch_size`` at a time."""
    device = next(model.parameters()).device
    for _, alike in itertools.groupby(blocks, key=lambda block: block.audio.shape[-1]):
        while batch := list(itertools.islice(alike, batch_size)):
            chunks = torch.cat([block.audio for block in batch])  # (blocks G, C, samples)
            with evaluating(model), torch.no_grad(), _autocast(device, precision):
                audio = model(chunks.to(device)).audio  # (blocks G, stems, C, samples)
            if not torch.isfinite(audio).all():
                cause = "a smaller range in half precision" if precision == "16-mixed" else "broken weights"
                raise UserError(f"the model returned NaN or infinity for finite audio, a sign of {cause}: try 32-true")
            yield from zip(batch, audio.to(chunks).unflatten(0, (len(batch), -1)), strict=True)


def _finite(blocks: Iterable[Block], sample_rate: int) -> Iterator[Block]:
    for block in blocks:
        finite = torch.isfinite(block.audio).flatten(0, -2).all(0)  # (samples,)
        if not finite.all():
            place = block.start + int((~finite).nonzero()[0])
            raise UserError(f"NaN or infinity at {place / sample_rate:.3f} s: expected finite audio, export it again")
        yield block


def _autocast(device: torch.device, precision: Precision | None) -> contextlib.AbstractContextManager[object]:
    if precision is None:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=_AUTOCAST.get(precision), enabled=precision in _AUTOCAST)

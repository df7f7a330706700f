"""How frames are cut into blocks of queries, which keys each block needs, and how rows lie in memory."""

import torch
from torch import Tensor

from wsa_lightning.attention.pattern import Pattern


def queries_in_a_block(pattern: Pattern) -> int:
    """Queries in a block: enough to amortise the halo of a wide window, 32 at least."""
    return max(32, 1 << pattern.half.bit_length())


def blocks_of(pattern: Pattern, frames: int) -> int:
    """How many blocks hold so many frames, for each of the ``dilation`` sequences."""
    unit = queries_in_a_block(pattern) * pattern.dilation
    return (frames + unit - 1) // unit  # ONNX divides towards zero, so -(-frames // unit) would be wrong there


def block_mask(
    pattern: Pattern, frames: int, device: torch.device, *, first: int = 0, stop: int | None = None
) -> Tensor:
    """What the queries of blocks see: (dilation, blocks, block, S + block + 2 half) bool.

    A block holds every ``dilation``-th frame from one of the first ``dilation`` on. Its keys are the sinks, and the
    frames of the block with half a window before and after it.

    Args:
        pattern: windowed.
        frames: frames that exist; the last blocks are padded.
        device: of the result.
        first: the first block.
        stop: after the last block; None is the number of all blocks.
    """
    block, half, dilation = queries_in_a_block(pattern), pattern.half, pattern.dilation
    stop = blocks_of(pattern, frames) if stop is None else stop
    remainder = torch.arange(dilation, device=device)[:, None, None]
    start = torch.arange(first, stop, device=device)[:, None] * block
    query = ((start + torch.arange(block, device=device)) * dilation + remainder)[..., None]  # (d, n, b, 1)
    key = ((start - half + torch.arange(block + 2 * half, device=device)) * dilation + remainder)[:, :, None]
    # A padded query sees its padded neighbours: a row that sees nothing would be NaN, in the backward pass too.
    exists = ((key >= 0) & (key < frames)) | (query >= frames)
    sinks = torch.arange(pattern.sinks, device=device)
    query, key = pattern.sinks + query, pattern.sinks + key
    return torch.cat((pattern.allows(query, sinks), pattern.allows(query, key) & exists), dim=-1)


def empty_rows(like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """(B, H, L, E) that lies in memory as (B, L, H, E), as a model's projections give and take it."""
    batch, heads, length, dim_head = like.shape
    return like.new_empty(batch, length, heads, dim_head, dtype=dtype or like.dtype).transpose(1, 2)


def is_traced() -> bool:
    """Whether this call makes a graph rather than numbers."""
    return torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None

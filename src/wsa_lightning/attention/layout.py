"""How frames are cut into blocks of queries, which keys each block meets, and how rows lie in memory."""

import torch
import torch.nn.functional as F
from torch import Tensor


def block_size(window: int) -> int:
    """Queries in a block: wide enough to amortise the halo of a wide window, 32 at least."""
    return max(32, 1 << (window // 2).bit_length())


def block_mask(
    frames: int, blocks: range, block: int, half: int, sinks: int, device: torch.device, dilation: int = 1
) -> Tensor:
    """(dilation, blocks, block, S + block + 2 half) bool: sinks, and frames that exist and lie within half a window.

    A block holds every ``dilation``-th frame from one of the first ``dilation`` on.
    """
    first = torch.arange(dilation, device=device)[:, None, None, None]
    start = torch.arange(blocks.start, blocks.stop, device=device)[:, None, None] * block
    query = start + torch.arange(block, device=device)[None, :, None]
    key = start - half + torch.arange(block + 2 * half, device=device)[None, None, :]
    exists = (key >= 0) & (key * dilation + first < frames)
    # A padded query sees its padded neighbours: a row that sees nothing would be NaN, in the backward pass too.
    seen = ((query - key).abs() <= half) & (exists | (query * dilation + first >= frames))
    return F.pad(seen, (sinks, 0), value=True)


def empty_rows(like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """(B, H, L, E) that lies in memory as (B, L, H, E), as a model's projections give and take it."""
    batch, heads, length, dim_head = like.shape
    return like.new_empty(batch, length, heads, dim_head, dtype=dtype or like.dtype).transpose(1, 2)


def is_traced() -> bool:
    """Whether this call makes a graph rather than numbers."""
    return torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None

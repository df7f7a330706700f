"""Windowed sink attention in linear time and memory, in plain PyTorch, on any device, forward and backward.

Frames are cut into blocks; a block of queries meets the sinks and one contiguous stretch of keys, the
block itself and half a window on either side:

    keys      s s | . . . . . . . . . . . . . .
    block 1   s s   [h|  block  |h]
    block 2   s s              [h|  block  |h]

so that every block is a small dense attention of its own. Sink queries see everything: a thin full attention.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from wsa_lightning.attention.pattern import is_full


def block_size(window: int) -> int:
    """Queries in a block: wide enough to amortise the halo of a wide window, 32 at least."""
    return max(32, 1 << (window // 2).bit_length())


def executed_pairs(frames: int, window: int | None, sinks: int) -> int:
    """How many score pairs this layout computes: more than the mask allows, for whole blocks are dense."""
    if window is None or is_full(frames, window):
        return (sinks + frames) ** 2
    block, half = block_size(window), window // 2
    blocks = -(-frames // block)
    return sinks * (sinks + frames) + blocks * block * (sinks + block + 2 * half)


def blocked(q: Tensor, k: Tensor, v: Tensor, *, window: int | None, sinks: int) -> Tensor:
    """Windowed sink attention by blocks; q, k, v and result are (batch, heads, sinks + frames, dim_head)."""
    frames = q.shape[-2] - sinks
    if window is None or is_full(frames, window):
        return F.scaled_dot_product_attention(q, k, v)
    out = _frames_by_blocks(q[:, :, sinks:], k, v, window, sinks)  # (B, H, T, E)
    if sinks == 0:
        return out
    sink_out = F.scaled_dot_product_attention(q[:, :, :sinks], k, v)  # (B, H, S, E)
    return torch.cat((sink_out, out), dim=2)  # (B, H, S + T, E)


def _frames_by_blocks(q: Tensor, k: Tensor, v: Tensor, window: int, sinks: int) -> Tensor:
    batch, heads, frames, dim_head = q.shape
    block, half = block_size(window), window // 2
    blocks = -(-frames // block)
    tail = blocks * block - frames

    q = F.pad(q, (0, 0, 0, tail)).reshape(batch * heads, blocks, block, dim_head)  # (BH, n, b, E)
    k = _stretches(k, sinks, block, half, tail)  # (BH, n, S + b + 2h, E)
    v = _stretches(v, sinks, block, half, tail)
    seen = _block_mask(frames, blocks, block, half, sinks, q.device)  # (n, b, S + b + 2h)
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)  # (BH, n, b, E)
    return out.reshape(batch, heads, blocks * block, dim_head)[:, :, :frames]


def _stretches(x: Tensor, sinks: int, block: int, half: int, tail: int) -> Tensor:
    """Sinks and the stretch of frames each block sees: (B, H, S + T, E) -> (BH, n, S + b + 2h, E)."""
    x = x.flatten(0, 1)  # (BH, S + T, E)
    padded = F.pad(x[:, sinks:], (0, 0, half, half + tail))  # (BH, h + n b + h, E)
    stretches = padded.unfold(1, block + 2 * half, block).transpose(-1, -2)  # (BH, n, b + 2h, E)
    if sinks == 0:
        return stretches
    shared = x[:, None, :sinks].expand(-1, stretches.shape[1], -1, -1)  # (BH, n, S, E)
    return torch.cat((shared, stretches), dim=2)


def _block_mask(frames: int, blocks: int, block: int, half: int, sinks: int, device: torch.device) -> Tensor:
    """(n, b, S + b + 2h) bool: sinks, and frames that exist and lie within half a window."""
    start = torch.arange(blocks, device=device)[:, None, None] * block
    query = start + torch.arange(block, device=device)[None, :, None]
    key = start - half + torch.arange(block + 2 * half, device=device)[None, None, :]
    exists = (key >= 0) & (key < frames)
    # A padded query sees its padded neighbours: a row that sees nothing would be NaN, in the backward pass too.
    seen = ((query - key).abs() <= half) & (exists | (query >= frames))  # (n, b, b + 2h)
    return F.pad(seen, (sinks, 0), value=True)

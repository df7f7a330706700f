"""Windowed sink attention in linear time and memory, in plain PyTorch, on any device, forward and backward.

Frames are cut into blocks; a block of queries meets the sinks and one contiguous stretch of keys, the
block itself and half a window on either side:

    keys      s s | . . . . . . . . . . . . . .
    block 1   s s   [h|  block  |h]
    block 2   s s              [h|  block  |h]

so that every block is a small dense attention of its own. Sink queries see everything: a thin full attention.

The stretches overlap and must be copied. On the CPU that is done piece by piece (see pieces.py); compilers, exports and
other devices get one plain formula.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from wsa_lightning.attention.layout import block_mask, block_size, is_traced
from wsa_lightning.attention.pattern import is_full
from wsa_lightning.attention.pieces import attend_by_pieces


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
    if q.device.type != "cpu" or is_traced():
        return attend_by_blocks(q, k, v, window, sinks)
    return attend_by_pieces(q.to(v.dtype), k.to(v.dtype), v, window, sinks)


def attend_by_blocks(q: Tensor, k: Tensor, v: Tensor, window: int, sinks: int) -> Tensor:
    """The formula, for all heads at once; the window must not reach every frame."""
    batch, heads, length, dim_head = q.shape
    frames = length - sinks
    block, half = block_size(window), window // 2
    blocks = -(-frames // block)

    queries = _blocks(q.flatten(0, 1)[:, sinks:], blocks, block)  # (BH, n, b, E)
    keys = _stretches(k.flatten(0, 1), sinks, blocks, block, half)  # (BH, n, S + b + 2h, E)
    values = _stretches(v.flatten(0, 1), sinks, blocks, block, half)
    seen = block_mask(frames, range(blocks), block, half, sinks, q.device)  # (n, b, S + b + 2h)
    # A mask of 3 dimensions would make PyTorch take its slow path.
    out = F.scaled_dot_product_attention(queries, keys, values, attn_mask=seen[None])  # (BH, n, b, E)
    out = out.reshape(batch, heads, blocks * block, dim_head)[:, :, :frames]
    if sinks == 0:
        return out
    sink_out = F.scaled_dot_product_attention(q[:, :, :sinks], k, v)  # (B, H, S, E)
    return torch.cat((sink_out, out), dim=2)  # (B, H, S + T, E)


def _blocks(frames: Tensor, blocks: int, block: int) -> Tensor:
    """(BH, T, E) -> (BH, n, b, E), zeros after the last frame."""
    return F.pad(frames, (0, 0, 0, blocks * block - frames.shape[1])).unflatten(1, (blocks, block))


def _stretches(x: Tensor, sinks: int, blocks: int, block: int, half: int) -> Tensor:
    """Sinks and the stretch of frames each block sees: (BH, S + T, E) -> (BH, n, S + b + 2h, E)."""
    frames = _blocks(x[:, sinks:], blocks, block)  # (BH, n, b, E)
    shared = x[:, None, :sinks].expand(-1, blocks, -1, -1)  # (BH, n, S, E)
    before = F.pad(frames[:, :-1, block - half :], (0, 0, 0, 0, 1, 0))  # (BH, n, h, E): the end of the block before
    after = F.pad(frames[:, 1:, :half], (0, 0, 0, 0, 0, 1))
    return torch.cat((shared, before, frames, after), dim=2)

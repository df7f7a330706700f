"""Windowed sink attention in linear time and memory, in plain PyTorch, on any device, forward and backward.

Frames are cut into blocks; a block of queries meets the sinks and one contiguous stretch of keys, the
block itself and half a window on either side:

    keys      s s | . . . . . . . . . . . . . .
    block 1   s s   [h|  block  |h]
    block 2   s s              [h|  block  |h]

so that every block is a small dense attention of its own. Sink queries see everything: a thin full attention. With a
dilation d the same is done to d sequences, of every d-th frame each.

The stretches overlap and must be copied. On the CPU that is done piece by piece (see pieces.py) where the window is not
dilated; all else gets one plain formula.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from wsa_lightning.attention.layout import block_mask, block_size, is_traced
from wsa_lightning.attention.pattern import is_full, narrowed
from wsa_lightning.attention.pieces import attend_by_pieces


def executed_pairs(frames: int, window: int | None, sinks: int, dilation: int = 1) -> int:
    """How many score pairs this layout computes: more than the mask allows, for whole blocks are dense."""
    if window is None or is_full(frames, window, dilation):
        return (sinks + frames) ** 2
    window, dilation = narrowed(window, dilation, frames)
    block, half = block_size(window), window // 2
    blocks = dilation * -(-frames // (block * dilation))
    return sinks * (sinks + frames) + blocks * block * (sinks + block + 2 * half)


def blocked(q: Tensor, k: Tensor, v: Tensor, *, window: int | None, sinks: int, dilation: int = 1) -> Tensor:
    """Windowed sink attention by blocks; q, k, v and result are (batch, heads, sinks + frames, dim_head)."""
    frames = q.shape[-2] - sinks
    if window is None or is_full(frames, window, dilation):
        return F.scaled_dot_product_attention(q, k, v)
    q, k = q.to(v.dtype), k.to(v.dtype)
    if q.device.type != "cpu" or is_traced() or dilation > 1:
        return attend_by_blocks(q, k, v, window, sinks, dilation)
    return attend_by_pieces(q, k, v, window, sinks)


def attend_by_blocks(q: Tensor, k: Tensor, v: Tensor, window: int, sinks: int, dilation: int = 1) -> Tensor:
    """The formula, for all heads at once; the window must not reach every frame."""
    batch, heads, length, dim_head = q.shape
    frames = length - sinks
    block, half = block_size(window), window // 2
    blocks = -(-frames // (block * dilation))
    cut = (blocks, block, dilation)

    queries = _blocks(q.flatten(0, 1)[:, sinks:], cut).flatten(1, 2)  # (BH, d n, b, E)
    keys = _stretches(k.flatten(0, 1), sinks, cut, half)  # (BH, d n, S + b + 2h, E)
    values = _stretches(v.flatten(0, 1), sinks, cut, half)
    seen = block_mask(frames, range(blocks), block, half, sinks, q.device, dilation).flatten(0, 1)
    # A mask of 3 dimensions would make PyTorch take its slow path.
    out = F.scaled_dot_product_attention(queries, keys, values, attn_mask=seen[None])  # (BH, d n, b, E)
    out = out.unflatten(1, (dilation, blocks)).movedim(1, 3)  # (BH, n, b, d, E)
    out = out.reshape(batch, heads, blocks * block * dilation, dim_head)[:, :, :frames]
    if sinks == 0:
        return out
    sink_out = F.scaled_dot_product_attention(q[:, :, :sinks], k, v)  # (B, H, S, E)
    return torch.cat((sink_out, out), dim=2)  # (B, H, S + T, E)


def _blocks(frames: Tensor, cut: tuple[int, int, int]) -> Tensor:
    """(BH, T, E) -> (BH, d, n, b, E), zeros after the last frame."""
    padded = F.pad(frames, (0, 0, 0, math.prod(cut) - frames.shape[1]))
    return padded.unflatten(1, cut).movedim(3, 1)


def _stretches(x: Tensor, sinks: int, cut: tuple[int, int, int], half: int) -> Tensor:
    """Sinks and the stretch of frames each block sees: (BH, S + T, E) -> (BH, d n, S + b + 2h, E)."""
    blocks, block, dilation = cut
    frames = _blocks(x[:, sinks:], cut)  # (BH, d, n, b, E)
    shared = x[:, None, None, :sinks].expand(-1, dilation, blocks, -1, -1)  # (BH, d, n, S, E)
    before = F.pad(frames[:, :, :-1, block - half :], (0, 0, 0, 0, 1, 0))  # (BH, d, n, h, E): the block before's end
    after = F.pad(frames[:, :, 1:, :half], (0, 0, 0, 0, 0, 1))
    return torch.cat((shared, before, frames, after), dim=3).flatten(1, 2)

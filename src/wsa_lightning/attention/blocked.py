"""Windowed sink attention in linear time and memory, in plain PyTorch, on any device, forward and backward.

Frames are cut into blocks. The keys of a block of queries are the sinks and one contiguous stretch of frames, the block
itself and half a window on either side:

    keys      s s | . . . . . . . . . . . . . .
    block 1   s s   [h|  block  |h]
    block 2   s s              [h|  block  |h]

so that every block is a small dense attention of its own. Sink queries see everything: a thin full attention. With a
dilation d the same is done to d sequences, of every d-th frame each.

The stretches overlap and must be copied. On the CPU that is done piece by piece (see pieces.py) where the window is not
dilated; everything else uses one plain formula.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from wsa_lightning.attention.layout import block_mask, blocks_of, is_traced, queries_in_a_block
from wsa_lightning.attention.pattern import Pattern
from wsa_lightning.attention.pieces import attend_by_pieces


def executed_pairs(pattern: Pattern, frames: int) -> int:
    """How many score pairs this layout computes: more than the mask allows, because whole blocks are dense."""
    if pattern.is_full(frames):
        return (pattern.sinks + frames) ** 2
    pattern = pattern.narrowed(frames)
    block = queries_in_a_block(pattern)
    blocks = pattern.dilation * blocks_of(pattern, frames)
    by_sinks = pattern.sinks * (pattern.sinks + frames)
    return by_sinks + blocks * block * (pattern.sinks + block + 2 * pattern.half)


def blocked(q: Tensor, k: Tensor, v: Tensor, pattern: Pattern) -> Tensor:
    """Windowed sink attention by blocks; q, k, v and result are (batch, heads, sinks + frames, dim_head)."""
    if pattern.is_full(q.shape[-2] - pattern.sinks):
        return F.scaled_dot_product_attention(q, k, v)
    q, k = q.to(v.dtype), k.to(v.dtype)
    if q.device.type != "cpu" or is_traced() or pattern.dilation > 1:
        return attend_by_blocks(q, k, v, pattern)
    return attend_by_pieces(q, k, v, pattern)


def attend_by_blocks(q: Tensor, k: Tensor, v: Tensor, pattern: Pattern) -> Tensor:
    """The formula, for all heads at once; the window must not reach every frame."""
    batch, heads, length, dim_head = q.shape
    sinks, dilation, frames = pattern.sinks, pattern.dilation, length - pattern.sinks
    block = queries_in_a_block(pattern)
    blocks = blocks_of(pattern, frames)
    cut = (blocks, block, dilation)

    queries = _blocks(q.flatten(0, 1)[:, sinks:], cut).flatten(1, 2)  # (BH, d n, b, E)
    keys = _stretches(k.flatten(0, 1), pattern, cut)  # (BH, d n, S + b + 2h, E)
    values = _stretches(v.flatten(0, 1), pattern, cut)
    seen = block_mask(pattern, frames, q.device).flatten(0, 1)
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


def _stretches(x: Tensor, pattern: Pattern, cut: tuple[int, int, int]) -> Tensor:
    """Sinks and the stretch of frames each block sees: (BH, S + T, E) -> (BH, d n, S + b + 2h, E)."""
    blocks, block, dilation = cut
    sinks, half = pattern.sinks, pattern.half
    frames = _blocks(x[:, sinks:], cut)  # (BH, d, n, b, E)
    shared = x[:, None, None, :sinks].expand(-1, dilation, blocks, -1, -1)  # (BH, d, n, S, E)
    before = F.pad(frames[:, :, :-1, block - half :], (0, 0, 0, 0, 1, 0))  # (BH, d, n, h, E): end of the block before
    after = F.pad(frames[:, :, 1:, :half], (0, 0, 0, 0, 0, 1))
    return torch.cat((shared, before, frames, after), dim=3).flatten(1, 2)

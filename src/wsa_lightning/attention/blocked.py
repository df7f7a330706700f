"""Windowed sink attention in linear time and memory, in plain PyTorch, on any device, forward and backward.

Frames are cut into blocks. The keys of a block of queries are the sinks and one contiguous stretch of frames, the block
itself and half a window on either side:

    keys      s s | . . . . . . . . . . . . . .
    block 1   s s   [h|  block  |h]
    block 2   s s              [h|  block  |h]

so that every block is a small dense attention of its own. Sink queries see everything: a thin full attention. With a
dilation d the same is done to d sequences, of every d-th frame each. The stretches overlap and are copied.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from wsa_lightning.attention.pattern import Pattern


def queries_in_a_block(pattern: Pattern) -> int:
    """Queries in a block: enough to amortise the halo of a wide window, 32 at least."""
    return max(32, 1 << pattern.half.bit_length())


def blocks_of(pattern: Pattern, frames: int) -> int:
    """How many blocks hold so many frames, for each of the ``dilation`` sequences."""
    unit = queries_in_a_block(pattern) * pattern.dilation
    return (frames + unit - 1) // unit  # ONNX divides towards zero, so -(-frames // unit) would be wrong there


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
    if v.device.type == "cpu" and (v.dtype in (torch.float16, torch.bfloat16) or torch.is_autocast_enabled("cpu")):
        # A backward pass in half precision takes three times as long on a CPU.
        dtype = torch.promote_types(v.dtype, torch.float32)
        with torch.autocast("cpu", enabled=False):
            return attend_by_blocks(q.to(dtype), k.to(dtype), v.to(dtype), pattern).to(v.dtype)
    return attend_by_blocks(q.to(v.dtype), k.to(v.dtype), v, pattern)


def attend_by_blocks(q: Tensor, k: Tensor, v: Tensor, pattern: Pattern) -> Tensor:
    """``blocked`` for a window, also where it reaches every frame."""
    batch, heads, length, dim_head = q.shape
    sinks, dilation, frames = pattern.sinks, pattern.dilation, length - pattern.sinks
    block = queries_in_a_block(pattern)
    blocks = blocks_of(pattern, frames)
    cut = (blocks, block, dilation)

    queries = _blocks(q.flatten(0, 1)[:, sinks:], cut).flatten(1, 2)  # (BH, d n, b, E)
    keys = _stretches(k.flatten(0, 1), pattern, cut)  # (BH, d n, S + b + 2h, E)
    values = _stretches(v.flatten(0, 1), pattern, cut)
    seen = _seen(pattern, frames, q.device).flatten(0, 1)
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


def _seen(pattern: Pattern, frames: int, device: torch.device) -> Tensor:
    """Which keys the queries of each block see: (d, n, b, S + b + 2h) bool."""
    block, half, dilation = queries_in_a_block(pattern), pattern.half, pattern.dilation
    remainder = torch.arange(dilation, device=device)[:, None, None]
    start = torch.arange(blocks_of(pattern, frames), device=device)[:, None] * block
    query = ((start + torch.arange(block, device=device)) * dilation + remainder)[..., None]  # (d, n, b, 1)
    key = ((start - half + torch.arange(block + 2 * half, device=device)) * dilation + remainder)[:, :, None]
    # A padded query sees its padded neighbours: a row that sees nothing would be NaN, in the backward pass too.
    exists = ((key >= 0) & (key < frames)) | (query >= frames)
    sinks = torch.arange(pattern.sinks, device=device)
    query, key = pattern.sinks + query, pattern.sinks + key
    return torch.cat((pattern.allows(query, sinks), pattern.allows(query, key) & exists), dim=-1)

"""Windowed sink attention in linear time and memory, in plain PyTorch, on any device, forward and backward.

Frames are cut into blocks; a block of queries meets the sinks and one contiguous stretch of keys, the
block itself and half a window on either side:

    keys      s s | . . . . . . . . . . . . . .
    block 1   s s   [h|  block  |h]
    block 2   s s              [h|  block  |h]

so that every block is a small dense attention of its own. Sink queries see everything: a thin full attention.

The stretches overlap and must be copied, so heads are taken some at a time: the copies stay small, and the backward
pass makes them anew. A compiler or an export sees one plain formula instead.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from wsa_lightning.attention.pattern import is_full

FRAMES_AT_A_TIME = 1 << 15
"""Frames, over the heads of a sequence, whose stretches exist at once: 26 MB at 64 numbers a head."""


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
    if is_traced():
        return attend_by_blocks(q, k, v, window, sinks)
    return _Pieces.apply(q, k, v, window, sinks)  # type: ignore[no-untyped-call]


def attend_by_blocks(q: Tensor, k: Tensor, v: Tensor, window: int, sinks: int) -> Tensor:
    """The formula, for all heads at once; the window must not reach every frame."""
    batch, heads, length, dim_head = q.shape
    frames = length - sinks
    block, half = block_size(window), window // 2
    blocks = -(-frames // block)

    queries = _blocks(q.flatten(0, 1)[:, sinks:], blocks, block)  # (BH, n, b, E)
    keys = _stretches(k.flatten(0, 1), sinks, blocks, block, half)  # (BH, n, S + b + 2h, E)
    values = _stretches(v.flatten(0, 1), sinks, blocks, block, half)
    seen = _block_mask(frames, blocks, block, half, sinks, q.device)  # (n, b, S + b + 2h)
    # A mask of 3 dimensions would make PyTorch take its slow path.
    out = F.scaled_dot_product_attention(queries, keys, values, attn_mask=seen[None])  # (BH, n, b, E)
    out = out.reshape(batch, heads, blocks * block, dim_head)[:, :, :frames]
    if sinks == 0:
        return out
    sink_out = F.scaled_dot_product_attention(q[:, :, :sinks], k, v)  # (B, H, S, E)
    return torch.cat((sink_out, out), dim=2)  # (B, H, S + T, E)


class _Pieces(torch.autograd.Function):
    """``attend_by_blocks``, some heads at a time in both directions; keeps q, k, v and nothing else."""

    @staticmethod
    def forward(q: Tensor, k: Tensor, v: Tensor, window: int, sinks: int) -> Tensor:
        out = empty_rows(v)
        for piece in _pieces(q.shape[:3]):
            out[piece] = attend_by_blocks(q[piece], k[piece], v[piece], window, sinks)
        return out

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        q, k, v, ctx.window, ctx.sinks = inputs
        ctx.save_for_backward(q, k, v)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        qkv = ctx.saved_tensors
        slopes = [empty_rows(x) for x in qkv]
        for piece in _pieces(slope.shape[:3]):
            parts = [x[piece].detach().requires_grad_() for x in qkv]
            with torch.enable_grad():
                out = attend_by_blocks(parts[0], parts[1], parts[2], ctx.window, ctx.sinks)
            for total, part in zip(slopes, torch.autograd.grad(out, parts, slope[piece]), strict=True):
                total[piece] = part
        return (*slopes, None, None)


def is_traced() -> bool:
    """Whether this call makes a graph rather than numbers."""
    return torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None


def empty_rows(like: Tensor) -> Tensor:
    """(B, H, L, E) that lies in memory as (B, L, H, E), as a model's projections give and take it."""
    batch, heads, length, dim_head = like.shape
    return like.new_empty(batch, length, heads, dim_head).transpose(1, 2)


def _pieces(shape: torch.Size) -> list[tuple[slice, slice]]:
    """Slices of (batch, heads): heads of one sequence, whose rows a model's layout lets us take without a copy."""
    batch, heads, length = shape
    step = max(1, min(heads, FRAMES_AT_A_TIME // length))
    return [(slice(b, b + 1), slice(h, h + step)) for b in range(batch) for h in range(0, heads, step)]


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


def _block_mask(frames: int, blocks: int, block: int, half: int, sinks: int, device: torch.device) -> Tensor:
    """(n, b, S + b + 2h) bool: sinks, and frames that exist and lie within half a window."""
    start = torch.arange(blocks, device=device)[:, None, None] * block
    query = start + torch.arange(block, device=device)[None, :, None]
    key = start - half + torch.arange(block + 2 * half, device=device)[None, None, :]
    exists = (key >= 0) & (key < frames)
    # A padded query sees its padded neighbours: a row that sees nothing would be NaN, in the backward pass too.
    seen = ((query - key).abs() <= half) & (exists | (query >= frames))  # (n, b, b + 2h)
    return F.pad(seen, (sinks, 0), value=True)

"""``blocked`` on the CPU: a piece of some heads and some blocks at a time, in memory that all pieces share.

A block's arithmetic is small, so moving data dominates: fresh memory costs more than the products computed in it. All
scratch memory is allocated once per call and fits in the cache; the backward pass recomputes the weights instead of
keeping them. Half precision is computed in fp32.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from wsa_lightning.attention.layout import block_mask, empty_rows, queries_in_a_block
from wsa_lightning.attention.pattern import Pattern

ROWS_AT_A_TIME = 1 << 12
"""Queries of a piece, over its heads: about 10 MB of scratch memory at 64 numbers a head for narrow windows."""


def attend_by_pieces(q: Tensor, k: Tensor, v: Tensor, pattern: Pattern) -> Tensor:
    """Windowed sink attention, (batch, heads, sinks + frames, dim_head) each.

    The window must not reach every frame, and must not be dilated.
    """
    return _Attend.apply(q, k, v, pattern)  # type: ignore[no-untyped-call]


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(q: Tensor, k: Tensor, v: Tensor, pattern: Pattern) -> Tensor:
        out = empty_rows(v)
        if out.numel() == 0:
            return out
        cut = _Cut(q, pattern)
        queries, keys, values = _Rows(cut), _Stretches(cut), _Stretches(cut)
        scores, weights, result = cut.scores(), cut.scores(), torch.empty_like(queries.blocks)
        with torch.autocast("cpu", enabled=False):
            for piece in cut.pieces():
                cut.weigh(queries.load(q, piece), keys.load(k, piece), piece, scores, weights)
                torch.bmm(weights, values.load(v, piece), out=result)
                cut.frames_of(out, piece).copy_(queries.existing(result, piece))
            if sinks := pattern.sinks:
                out[:, :, :sinks] = F.scaled_dot_product_attention(q[:, :, :sinks], k, v)
        return out

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        q, k, v, ctx.pattern = inputs
        ctx.save_for_backward(q, k, v)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v = ctx.saved_tensors
        if v.numel() == 0:
            return torch.zeros_like(q), torch.zeros_like(k), torch.zeros_like(v), None
        with torch.autocast("cpu", enabled=False):
            dq, dk, dv = _gradients_by_sink_queries(q, k, v, gradient, ctx.pattern.sinks)
            _add_gradients_by_frames(_Cut(q, ctx.pattern), (q, k, v, gradient), (dq, dk, dv))
        return dq, dk, dv, None


def _gradients_by_sink_queries(q: Tensor, k: Tensor, v: Tensor, gradient: Tensor, sinks: int) -> tuple[Tensor, ...]:
    """What the sinks' own rows give: all of dk and dv so far, and the first rows of dq."""
    dq = empty_rows(q)
    if sinks == 0:
        return dq, empty_rows(k).zero_(), empty_rows(v).zero_()
    leaves = [x.detach().requires_grad_() for x in (q[:, :, :sinks], k, v)]
    with torch.enable_grad():
        out = F.scaled_dot_product_attention(leaves[0], leaves[1], leaves[2])
    dq[:, :, :sinks], dk, dv = torch.autograd.grad(out, leaves, gradient[:, :, :sinks])
    return dq, dk, dv


def _add_gradients_by_frames(cut: "_Cut", inputs: tuple[Tensor, ...], gradients: tuple[Tensor, ...]) -> None:
    """Fill the frames' rows of dq, and add to dk and dv what the frames give."""
    q, k, v, gradient = inputs
    dq, dk, dv = gradients
    queries, given, keys, values = _Rows(cut), _Rows(cut), _Stretches(cut), _Stretches(cut)
    scores, weights, of_weights = cut.scores(), cut.scores(), cut.scores()
    of_queries, of_keys = torch.empty_like(queries.blocks), torch.empty_like(keys.flat)
    # The sinks' sums run over all blocks: in half precision they would stop growing.
    of_sinks = [keys.flat.new_zeros(*x.shape[:2], cut.sinks, x.shape[-1]) for x in (k, v)]
    for piece in cut.pieces():
        cut.weigh(queries.load(q, piece), keys.load(k, piece), piece, scores, weights)
        torch.bmm(given.load(gradient, piece), values.load(v, piece).transpose(1, 2), out=scores)
        torch.ops.aten._softmax_backward_data.out(scores, weights, -1, scores.dtype, grad_input=of_weights)
        torch.baddbmm(of_queries, of_weights, keys.flat, beta=0, alpha=cut.scale, out=of_queries)
        cut.frames_of(dq, piece).copy_(queries.existing(of_queries, piece))
        torch.baddbmm(of_keys, of_weights.transpose(1, 2), queries.blocks, beta=0, alpha=cut.scale, out=of_keys)
        keys.add(of_keys, dk, of_sinks[0], piece)
        torch.bmm(weights.transpose(1, 2), given.blocks, out=of_keys)
        values.add(of_keys, dv, of_sinks[1], piece)
    for total, part in zip((dk, dv), of_sinks, strict=True):
        total[:, :, : cut.sinks] += part


class _Piece(NamedTuple):
    """Some heads of one sequence, ``start`` to ``stop`` of its frames, and what is added to their scores."""

    sequence: int
    heads: slice
    start: int
    stop: int
    bias: Tensor


class _Cut:
    """How (batch, heads, length, dim_head) is cut into pieces of equal size; the last one may end after the frames."""

    def __init__(self, q: Tensor, pattern: Pattern) -> None:
        self.batch, self.all_heads, length, self.dim_head = q.shape
        self.pattern, self.frames, self.sinks = pattern, length - pattern.sinks, pattern.sinks
        self.half, self.block = pattern.half, queries_in_a_block(pattern)
        self.dtype = torch.float64 if q.dtype == torch.float64 else torch.float32
        self.scale = self.dim_head**-0.5
        # All heads of a frame lie together in memory, so a piece takes heads first.
        most = max(1, ROWS_AT_A_TIME // self.block)
        self.heads = max(n for n in range(1, min(most, self.all_heads) + 1) if self.all_heads % n == 0)
        all_blocks = -(-self.frames // self.block)
        spans = -(-all_blocks // (most // self.heads))
        self.blocks = -(-all_blocks // spans)

    def empty(self, *shape: int) -> Tensor:
        """Scratch memory."""
        return torch.empty(*shape, dtype=self.dtype)

    def scores(self) -> Tensor:
        """Room for every query of a piece against the keys of its block."""
        return self.empty(self.heads * self.blocks, self.block, self.sinks + self.block + 2 * self.half)

    def pieces(self) -> Iterator[_Piece]:
        """All pieces; those of the same frames share their bias."""
        size = self.blocks * self.block
        spans = [(start, min(self.frames, start + size), self._bias(start)) for start in range(0, self.frames, size)]
        for sequence in range(self.batch):
            for span in spans:
                for head in range(0, self.all_heads, self.heads):
                    yield _Piece(sequence, slice(head, head + self.heads), *span)

    def _bias(self, start: int) -> Tensor:
        """0 where a query sees a key and -inf elsewhere, one block for all where all are alike."""
        first, stop = start // self.block, start // self.block + self.blocks
        alike = start > 0 and stop * self.block + self.half <= self.frames
        stop = first + 1 if alike else stop
        seen = block_mask(self.pattern, self.frames, torch.device("cpu"), first=first, stop=stop)[0]
        bias = torch.zeros(seen.shape, dtype=self.dtype).masked_fill_(~seen, float("-inf"))
        return bias if alike else bias.repeat(self.heads, 1, 1)

    def weigh(self, queries: Tensor, keys: Tensor, piece: _Piece, scores: Tensor, weights: Tensor) -> None:
        """The softmax over each block's keys, into ``weights``."""
        torch.baddbmm(piece.bias, queries, keys.transpose(1, 2), alpha=self.scale, out=scores)
        torch.softmax(scores, -1, out=weights)

    def frames_of(self, x: Tensor, piece: _Piece, beyond: int = 0) -> Tensor:
        """A piece's frames of (B, H, L, E), and as many ``beyond`` either end as there are: (heads, frames, E)."""
        start, stop = max(0, piece.start - beyond), min(self.frames, piece.stop + beyond)
        return x[piece.sequence, piece.heads, self.sinks + start : self.sinks + stop]


class _Rows:
    """A piece's frames in blocks, zeros after the last."""

    def __init__(self, cut: _Cut) -> None:
        self.cut = cut
        self.blocks = cut.empty(cut.heads * cut.blocks, cut.block, cut.dim_head).zero_()

    def existing(self, blocks: Tensor, piece: _Piece) -> Tensor:
        """The rows of the frames that exist: (heads, frames, E)."""
        return blocks.view(self.cut.heads, -1, self.cut.dim_head)[:, : piece.stop - piece.start]

    def load(self, x: Tensor, piece: _Piece) -> Tensor:
        """(B, H, L, E) -> (heads x blocks, block, E)."""
        whole = self.blocks.view(self.cut.heads, -1, self.cut.dim_head)
        whole[:, piece.stop - piece.start :].zero_()
        self.existing(self.blocks, piece).copy_(self.cut.frames_of(x, piece))
        return self.blocks


class _Stretches:
    """The keys or values that each block of a piece needs: the sinks, the block, and half a window on either side."""

    def __init__(self, cut: _Cut) -> None:
        self.cut = cut
        width = cut.sinks + cut.block + 2 * cut.half
        self.flat = cut.empty(cut.heads * cut.blocks, width, cut.dim_head)
        self.padded = cut.empty(cut.heads, cut.blocks + 2, cut.block, cut.dim_head)  # a block before, a block after

    def load(self, x: Tensor, piece: _Piece) -> Tensor:
        """(B, H, L, E) -> (heads x blocks, S + block + 2 half, E)."""
        cut = self.cut
        rows = self._rows(self.flat)
        frames = self.padded.flatten(1, 2)
        first, last = self._existing(piece)
        frames[:, :first].zero_()
        frames[:, last:].zero_()
        frames[:, first:last] = cut.frames_of(x, piece, cut.half)
        near = frames[:, cut.block - cut.half : (cut.blocks + 1) * cut.block + cut.half]
        rows[:, :, cut.sinks :] = near.unfold(1, cut.block + 2 * cut.half, cut.block).transpose(2, 3)
        rows[:, :, : cut.sinks] = x[piece.sequence, piece.heads, None, : cut.sinks]
        return self.flat

    def add(self, gradients: Tensor, to: Tensor, to_sinks: Tensor, piece: _Piece) -> None:
        """The reverse of ``load``: add the gradients of each block's keys to the gradients of all keys."""
        cut, half = self.cut, self.cut.half
        rows = self._rows(gradients)
        to_sinks[piece.sequence, piece.heads] += rows[:, :, : cut.sinks].sum(1)
        padded, rows = self.padded.zero_(), rows[:, :, cut.sinks :]
        padded[:, 1:-1] = rows[:, :, half : half + cut.block]
        padded[:, :-2, cut.block - half :] += rows[:, :, :half]
        padded[:, 2:, :half] += rows[:, :, half + cut.block :]
        first, last = self._existing(piece)
        cut.frames_of(to, piece, half).add_(padded.flatten(1, 2)[:, first:last])

    def _rows(self, flat: Tensor) -> Tensor:
        return flat.view(self.cut.heads, self.cut.blocks, -1, self.cut.dim_head)

    def _existing(self, piece: _Piece) -> tuple[int, int]:
        """Where the frames that exist lie in ``padded``."""
        cut = self.cut
        first = cut.block - min(cut.half, piece.start)
        return first, cut.block + min(cut.frames, piece.stop + cut.half) - piece.start

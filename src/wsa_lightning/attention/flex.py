"""Windowed sink attention through PyTorch's FlexAttention, compiled: forward and backward on CUDA.

Source: https://pytorch.org/docs/stable/nn.attention.flex_attention.html. On the CPU it runs uncompiled, as a dense
masked attention and forward only, so that the pattern can be checked there.
"""

import functools
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from wsa_lightning.attention.pattern import Pattern
from wsa_lightning.errors import UserError


def positions_in_a_block(pattern: Pattern) -> int:
    """Positions in a block of scores, computed or skipped as a whole: 64 for a narrow pattern, else 128."""
    return 64 if 2 * pattern.reach <= 64 else 128


def flex(q: Tensor, k: Tensor, v: Tensor, pattern: Pattern) -> Tensor:
    """Windowed sink attention by FlexAttention; q, k, v and result are (batch, heads, sinks + frames, dim_head)."""
    length = q.shape[-2]
    if pattern.is_full(length - pattern.sinks):
        return F.scaled_dot_product_attention(q, k, v)
    q, k = q.to(v.dtype), k.to(v.dtype)
    mask = block_mask(pattern, length, q.device, torch.is_inference_mode_enabled())
    if q.device.type == "cpu":
        if torch.is_grad_enabled() and (q.requires_grad or k.requires_grad or v.requires_grad):
            raise UserError("attention backend 'flex' has no backward pass on the CPU: use backend auto")
        return flex_attention(q, k, v, block_mask=mask)
    if reason := why_not(q):
        raise UserError(f"attention backend 'flex' cannot take these tensors: {reason}. Use backend auto")
    return _compiled()(q, k, v, block_mask=mask, kernel_options=_kernel_options(pattern))


def why_not(q: Tensor) -> str | None:
    """Why FlexAttention's CUDA kernels cannot take q, or None where they can."""
    dim_head = q.shape[-1]
    if q.device.type != "cuda":
        return f"the tensors are on {q.device}, not on CUDA"
    if dim_head < 16 or dim_head & (dim_head - 1):
        return f"dim_head is {dim_head}, not a power of two of 16 or more"
    if q.dtype == torch.float64:
        return "the tensors are float64"
    return None


@functools.lru_cache(maxsize=16)
def block_mask(pattern: Pattern, length: int, device: torch.device, inference: bool = False) -> BlockMask:
    """Which blocks of scores hold an allowed pair, in closed form: a dense mask would take length² memory.

    Of a dilated pattern, every block within reach counts. ``inference`` separates the cache, because no backward pass
    may save a mask that was made in inference mode.
    """
    block = positions_in_a_block(pattern)
    start = torch.arange(0, length, block, device=device)
    query, key = start[:, None], start[None, :]
    # Two blocks hold an allowed pair if their first positions are one (sinks) or their nearest positions are.
    nearest_query = torch.where(query < key, query + block - 1, query)
    nearest_key = torch.where(key < query, key + block - 1, key)
    undilated = replace(pattern, window=2 * pattern.reach + 1, dilation=1)
    met = undilated.allows(query, key) | undilated.allows(nearest_query, nearest_key)  # (n, n)
    # The blocks that a row needs come first, in order.
    order = met.int().argsort(dim=-1, descending=True, stable=True).to(torch.int32)

    def seen(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return pattern.allows(query, key)

    return BlockMask.from_kv_blocks(
        met.sum(-1, dtype=torch.int32)[None, None],
        order[None, None],
        BLOCK_SIZE=block,
        mask_mod=seen,
        seq_lengths=(length, length),
    )


def _kernel_options(pattern: Pattern) -> dict[str, Any]:
    """Tiles that divide the blocks: FlexAttention's own choice may be larger than 64."""
    if positions_in_a_block(pattern) > 64:
        return {}
    return {"BLOCK_M": 64, "BLOCK_N": 64, "BLOCK_M1": 32, "BLOCK_N1": 64, "BLOCK_M2": 64, "BLOCK_N2": 32}


@functools.cache
def _compiled() -> Any:
    return torch.compile(flex_attention)

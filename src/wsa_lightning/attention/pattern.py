"""Who may see whom in windowed sink attention, how many pairs that is, and what they cost.

Windowed sink attention (arXiv 2510.25745, section 3): S sinks stand in front of T frames. Query i sees
key j if i < S (a sink sees everything), or j < S (everyone sees the sinks), or |i - j| <= window // 2.
"""

import torch
from torch import Tensor

from wsa_lightning.errors import UserError


def check_pattern(window: int | None, sinks: int) -> None:
    """Raise ``UserError`` unless ``window`` is None or >= 1 and ``sinks`` >= 0."""
    if window is not None and window < 1:
        raise UserError(f"window is {window}: expected a width of at least 1 frame, or null for full attention")
    if sinks < 0:
        raise UserError(f"sinks is {sinks}: expected 0 or more")


def is_full(frames: int, window: int | None) -> bool:
    """Whether the window reaches every frame from every frame, so that attention is simply full."""
    return window is None or window // 2 >= frames - 1


def allowed(frames: int, window: int | None, sinks: int, device: torch.device | None = None) -> Tensor:
    """The mask itself: (sinks + frames, sinks + frames) bool, rows are queries, True where the key is seen."""
    position = torch.arange(sinks + frames, device=device)
    query, key = position[:, None], position[None, :]
    if window is None:
        return torch.ones(sinks + frames, sinks + frames, dtype=torch.bool, device=device)
    return (query < sinks) | (key < sinks) | ((query - key).abs() <= window // 2)


def allowed_pairs(frames: int, window: int | None, sinks: int) -> int:
    """How many (query, key) pairs the mask allows, exactly: ``allowed(...).sum()`` in closed form."""
    length = sinks + frames
    half = length - 1 if window is None else window // 2
    half = min(half, frames - 1)
    band = frames * (2 * half + 1) - half * (half + 1)
    sink_rows_and_columns = sinks * length + frames * sinks
    return sink_rows_and_columns + band


def paper_pairs(frames: int, window: int | None, sinks: int) -> int:
    """The paper's count, T (w + S) score pairs, or T² for full attention (its headline: 641 601 -> 14 418)."""
    return frames * frames if window is None else frames * (window + sinks)


def attention_flops(pairs: int, heads: int, dim_head: int) -> int:
    """FLOPs of QK^T and PV over ``pairs`` score pairs: two products, 2 FLOPs a multiply-accumulate."""
    return 4 * pairs * heads * dim_head

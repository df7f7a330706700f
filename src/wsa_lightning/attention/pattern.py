"""Who may see whom in windowed sink attention, how many pairs that is, and what they cost.

Windowed sink attention (arXiv 2510.25745, section 3): S sinks stand in front of T frames. Query i sees
key j if i < S (a sink sees everything), or j < S (everyone sees the sinks), or |i - j| <= window // 2.

A dilated window (Longformer, arXiv 2004.05150, section 3.1) has as many frames, ``dilation`` apart: |i - j| is a
multiple of the dilation, and at most dilation (window // 2).
"""

import torch
from torch import Tensor

from wsa_lightning.errors import UserError


def check_pattern(window: int | None, sinks: int, dilation: int = 1) -> None:
    """Raise ``UserError`` unless ``window`` is None or >= 1, ``sinks`` >= 0, ``dilation`` >= 1, and 1 of no window."""
    if window is not None and window < 1:
        raise UserError(f"window is {window}: expected a width of at least 1 frame, or null for full attention")
    if sinks < 0:
        raise UserError(f"sinks is {sinks}: expected 0 or more")
    if dilation < 1:
        raise UserError(f"dilation is {dilation}: expected at least 1, the frames from one key to the next")
    if window is None and dilation > 1:
        raise UserError(f"dilation is {dilation} where window is null: expected 1, for full attention skips no frame")


def is_full(frames: int, window: int | None, dilation: int = 1) -> bool:
    """Whether the window reaches every frame from every frame, so that attention is simply full."""
    return window is None or frames == 1 or (dilation == 1 and window // 2 >= frames - 1)


def reach(window: int, dilation: int) -> int:
    """How many frames away the farthest key of a query is."""
    return window // 2 * dilation


def narrowed(window: int, dilation: int, frames: int) -> tuple[int, int]:
    """Window and dilation that mean the same to so many frames, without computing what is not there."""
    if dilation == 1:
        return window, 1
    if window < 2 or dilation >= frames:
        return 1, 1  # every frame sees itself alone
    return window if window // 2 < frames else 2 * int(frames), dilation


def allowed(
    frames: int, window: int | None, sinks: int, dilation: int = 1, device: torch.device | None = None
) -> Tensor:
    """The mask itself: (sinks + frames, sinks + frames) bool, rows are queries, True where the key is seen."""
    position = torch.arange(sinks + frames, device=device)
    query, key = position[:, None], position[None, :]
    if window is None:
        return torch.ones(sinks + frames, sinks + frames, dtype=torch.bool, device=device)
    gap = (query - key).abs()
    return (query < sinks) | (key < sinks) | ((gap <= reach(window, dilation)) & (gap % dilation == 0))


def allowed_pairs(frames: int, window: int | None, sinks: int, dilation: int = 1) -> int:
    """How many (query, key) pairs the mask allows, exactly: ``allowed(...).sum()`` in closed form."""
    length = sinks + frames
    half = length - 1 if window is None else window // 2
    # Frames of the same remainder see one another and no others: some of them are one longer than the rest.
    shorter, longer = divmod(frames, dilation)
    band = longer * _band(shorter + 1, half) + (dilation - longer) * _band(shorter, half)
    sink_rows_and_columns = sinks * length + frames * sinks
    return sink_rows_and_columns + band


def _band(frames: int, half: int) -> int:
    """Pairs at most ``half`` apart among so many frames."""
    half = min(half, max(0, frames - 1))
    return frames * (2 * half + 1) - half * (half + 1)


def paper_pairs(frames: int, window: int | None, sinks: int, dilation: int = 1) -> int:
    """The paper's count, T (w + S) score pairs, or T² for full attention (its headline: 641 601 -> 14 418)."""
    return frames * frames if window is None else frames * (window + sinks)


def attention_flops(pairs: int, heads: int, dim_head: int) -> int:
    """FLOPs of QK^T and PV over ``pairs`` score pairs: two products, 2 FLOPs a multiply-accumulate."""
    return 4 * pairs * heads * dim_head

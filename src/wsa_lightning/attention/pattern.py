"""Which positions see which in windowed sink attention, how many pairs that is, and what they cost."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from wsa_lightning.errors import UserError


@dataclass(frozen=True)
class Pattern:
    """The positions that each query of a time attention sees: S sinks, then T frames.

    Query i sees key j if i < S (a sink sees everything), if j < S (everything sees the sinks), or if
    |i - j| <= window // 2 (windowed sink attention, arXiv 2510.25745, section 3). A dilated window (Longformer, arXiv
    2004.05150, section 3.1) has as many frames, ``dilation`` apart: |i - j| is a multiple of the dilation, and at most
    dilation (window // 2).

    ``allows`` is the only place in Python where this rule is written; ``kernel.cpp`` has it once more.

    Attributes:
        window: total width in frames, ``window // 2`` to each side of the query; None is full attention.
        sinks: how many of the first positions are sinks, S.
        dilation: frames from one key of the window to the next, 1 for neighbours.

    Raises:
        UserError: not an integer; a window or a dilation below 1; negative sinks; a dilation without a window.
    """

    window: int | None = None
    sinks: int = 0
    dilation: int = 1

    def __post_init__(self) -> None:
        if self.window is not None and not is_integer(self.window):
            raise UserError(f"window is {self.window!r}: expected an integer, null, or a list of them, one a layer")
        if not is_integer(self.sinks):
            raise UserError(f"sinks is {self.sinks!r}: expected an integer")
        if not is_integer(self.dilation):
            raise UserError(f"dilation is {self.dilation!r}: expected an integer, or a list of them, one a layer")
        if self.window is not None and self.window < 1:
            raise UserError(
                f"window is {self.window}: expected a width of at least 1 frame, or null for full attention"
            )
        if self.sinks < 0:
            raise UserError(f"sinks is {self.sinks}: expected 0 or more")
        if self.dilation < 1:
            raise UserError(f"dilation is {self.dilation}: expected at least 1, the frames from one key to the next")
        if self.window is None and self.dilation > 1:
            raise UserError(
                f"dilation is {self.dilation} where window is null: expected 1, because full attention skips no frame"
            )

    def __str__(self) -> str:
        """The window for tables and names: ``full``, ``16``, or ``16/8`` with a dilation of 8."""
        if self.window is None:
            return "full"
        return f"{self.window}" if self.dilation == 1 else f"{self.window}/{self.dilation}"

    def allows(self, query: Tensor, key: Tensor) -> Tensor:
        """Whether queries see keys, elementwise and with broadcasting.

        Args:
            query: integer positions, sinks first: frame t is position ``sinks + t``.
            key: the same.

        Returns:
            Bool, of the broadcast shape.
        """
        seen = (query < self.sinks) | (key < self.sinks)
        if self.window is None:
            return torch.ones_like(seen)
        gap = (query - key).abs()
        near = gap <= self.reach
        if self.dilation > 1:
            near = near & (gap % self.dilation == 0)
        return seen | near

    @property
    def half(self) -> int:
        """Keys of the window on either side of a query; full attention has no window."""
        assert self.window is not None
        return self.window // 2

    @property
    def reach(self) -> int:
        """Frames from a query to the farthest frame in its window; full attention has no window."""
        return self.half * self.dilation

    def is_full(self, frames: int) -> bool:
        """Whether every one of so many frames sees every other, so that attention is simply full."""
        return self.window is None or frames == 1 or (self.dilation == 1 and self.half >= frames - 1)

    def narrowed(self, frames: int) -> "Pattern":
        """A pattern that allows the same pairs of so many frames, and whose window holds no more keys than there are.

        A plain window stays as it is: ``is_full`` finds those that are too wide.
        """
        if self.window is None or self.dilation == 1:
            return self
        if self.half == 0 or self.dilation >= frames:
            return replace(self, window=1, dilation=1)  # every frame sees itself alone
        return self if self.half < frames else replace(self, window=2 * int(frames))

    def mask(self, frames: int, device: torch.device | None = None) -> Tensor:
        """The dense mask: (sinks + frames, sinks + frames) bool, rows are queries, True where the key is seen."""
        position = torch.arange(self.sinks + frames, device=device)
        return self.allows(position[:, None], position)

    def pairs(self, frames: int) -> int:
        """How many (query, key) pairs are allowed, exactly: ``mask(frames).sum()`` in closed form."""
        length = self.sinks + frames
        half = length - 1 if self.window is None else self.half
        # Frames with the same remainder see one another and no others: some remainders have one frame more.
        shorter, longer = divmod(frames, self.dilation)
        band = longer * _band(shorter + 1, half) + (self.dilation - longer) * _band(shorter, half)
        sink_rows_and_columns = self.sinks * length + frames * self.sinks
        return sink_rows_and_columns + band

    def paper_pairs(self, frames: int) -> int:
        """The paper's count, T (w + S) score pairs, or T² for full attention (its headline: 641 601 -> 14 418)."""
        return frames * frames if self.window is None else frames * (self.window + self.sinks)


def is_integer(value: object) -> bool:
    """Whether a value of any type is an integer; truth values are not."""
    return isinstance(value, int) and not isinstance(value, bool)


def _band(frames: int, half: int) -> int:
    """Pairs at most ``half`` apart among so many frames."""
    half = min(half, max(0, frames - 1))
    return frames * (2 * half + 1) - half * (half + 1)


def attention_flops(pairs: int, heads: int, dim_head: int) -> int:
    """FLOPs of QK^T and PV over ``pairs`` score pairs: two products, 2 FLOPs a multiply-accumulate."""
    return 4 * pairs * heads * dim_head

"""The result of a count: FLOPs, score pairs, and what could not be counted."""

from dataclasses import dataclass
from typing import NamedTuple


class Uncounted(NamedTuple):
    """An operator without a handle, and the innermost module that calls it ("" is the model itself)."""

    operator: str
    module: str

    def __str__(self) -> str:
        return f"{self.operator} in {self.module or 'the model'}"


@dataclass(frozen=True)
class FlopReport:
    """FLOPs of one forward pass of one mixture, and the score pairs of its time attention.

    Attributes:
        seconds: duration of the mixture.
        frames: its STFT frames, T; sinks are not among them.
        linear: FLOPs of all linear layers, and of every other product outside attention in layers of your own.
        time_attention: FLOPs of QK^T and PV over time, over the pairs the mask allows.
        frequency_attention: the same over frequency, where every pair is allowed.
        by_module: ``total`` split into ``band_split``, ``layers.{i}.time``, ``layers.{i}.frequency``,
            ``mask_estimators``.
        stft: FLOPs of the STFT and its inverse, outside ``total``: 2.5 n log2 n a real FFT of size n
            (FFTW's convention), windowing and overlap-add not counted.
        paper_pairs: the paper's T (w + S) pairs, T² for full attention; pairs are per head, band and block; if
            the layers' windows differ, the mean over the layers, rounded.
        exact_pairs: pairs the mask allows, the sinks' own rows included.
        executed_pairs: pairs the ``blocked`` backend computes, because whole blocks are dense.
        time_attention_paper: ``time_attention``, had the mask the paper's pairs.
        time_attention_executed: ``time_attention`` as the ``blocked`` backend computes it.
        uncounted: operators without a handle. If there are any, the FLOPs above lack them: ``known_total`` and
            ``known_time_attention`` say which figures are complete.
    """

    seconds: float
    frames: int
    linear: int
    time_attention: int
    frequency_attention: int
    by_module: dict[str, int]
    stft: int
    paper_pairs: int
    exact_pairs: int
    executed_pairs: int
    time_attention_paper: int
    time_attention_executed: int
    uncounted: tuple[Uncounted, ...]

    @property
    def total(self) -> int:
        """FLOPs of the network: linear layers and attention."""
        return self.linear + self.time_attention + self.frequency_attention

    @property
    def known_total(self) -> int | None:
        """``total``, or None if an operator was not counted."""
        return None if self.uncounted else self.total

    @property
    def known_time_attention(self) -> int | None:
        """``time_attention``, or None if an operator that may belong to it was not counted."""
        is_affected = any(".time" in one.module or not one.module for one in self.uncounted)
        return None if is_affected else self.time_attention

"""Attention weights of every head, summarised as they are computed: the map of a whole song is never in memory.

An ``Observer`` takes the place of an attention's backend. It recomputes the softmax for a block of queries at a
time, adds it to its sums, and calls the real backend for the result, so that the model runs unchanged.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from wsa_lightning.attention import Backend, Pattern
from wsa_lightning.attention.operator import resolve
from wsa_lightning.models import Roformer
from wsa_lightning.models.roformer import evaluating
from wsa_lightning.models.transformer import Attention

FIRST = 32
"""How many of the first positions are looked at one by one."""
MAP = 801
"""Side of the attention map that is kept: 8 s of frames."""
BLOCK_QUERIES = 128
BLOCK_SCORES = 1 << 24
"""Scores held at once, over heads and sequences: 64 MiB in fp32, and more only where one sequence needs it."""


@dataclass(frozen=True)
class HeadStatistics:
    """What the heads of one attention look at; positions are frames on the time axis, bands on the frequency axis.

    Attributes:
        axis: ``time`` or ``frequency``.
        layer: which layer, from 0.
        block: which transformer block of that layer's axis, from 0; public models have one.
        within: (heads, positions): share of the attention within +-k positions, k = 0, 1, ..., averaged over queries.
        first: (heads, n): share on the first n + 1 positions, of queries in the second half of the song, to whom these
            are far away.
        sinks: (heads,): share on the sink tokens.
        entropy: (heads,): of a query's weights, in nats; ``exp`` of it is the number of positions really looked at.
        map: (queries, keys): weights at the beginning of the first song as multiples of what attention even over all of
            that song would give, averaged over heads and sequences; no sinks.
        even: (positions,): what ``within`` would be if the same queries looked at all positions alike.
        positions: how many positions they would look at, exp of the mean entropy.
    """

    axis: str
    layer: int
    block: int
    within: Tensor
    first: Tensor
    sinks: Tensor
    entropy: Tensor
    map: Tensor
    even: Tensor
    positions: float

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; without the map, which is for figures."""
        return {
            "axis": self.axis,
            "layer": self.layer,
            "block": self.block,
            "within": rounded(self.within),
            "first": rounded(self.first),
            "sinks": rounded(self.sinks),
            "entropy_nats": rounded(self.entropy),
            "even_within": rounded(self.even),
            "even_entropy_nats": round(math.log(self.positions), 6),
        }


def rounded(values: Tensor) -> Any:
    """Nested lists with six digits after the point."""
    return (values.double() * 1e6).round().div(1e6).tolist()


@torch.no_grad()
def measure(
    model: Roformer, mixtures: Iterable[Tensor], *, progress: Callable[[], None] = lambda: None
) -> list[HeadStatistics]:
    """Run mixtures through the model and summarise every attention.

    Args:
        model: teacher or student, on any device.
        mixtures: (C, N) each, at the model's sample rate, on any device.
        progress: called after each mixture.

    Returns:
        One entry an attention: all of layer 0's time attention first, then its frequency attention, and so on.
    """
    device = next(model.parameters()).device
    with evaluating(model), observed(model) as observers:
        for mixture in mixtures:
            # The separated audio is not asked for, so the network proper is enough.
            model.estimate_mask(model.spectral(mixture[None].to(device)))
            for observer in observers.values():
                observer.drawing = False
            progress()
    return [
        observer.statistics(axis, layer, block)
        for (layer, axis, block), observer in observers.items()
        if observer.queries
    ]


@contextmanager
def observed(model: Roformer) -> Iterator[dict[tuple[int, str, int], "Observer"]]:
    """Put an observer before every attention's backend, by (layer, axis, block), and take them off again."""
    observers: dict[tuple[int, str, int], Observer] = {}
    attentions: list[tuple[Attention, str | Backend]] = []
    for number, layer in enumerate(model.layers):
        for axis in ("time", "frequency"):
            for block, module in enumerate(getattr(layer, axis).blocks):
                attention: Attention = module.attention
                attentions.append((attention, attention.backend))
                observers[number, axis, block] = Observer(resolve(attention.backend))
                attention.backend = observers[number, axis, block]
    try:
        yield observers
    finally:
        for attention, backend in attentions:
            attention.backend = backend


class Observer:
    """An attention backend that looks at the weights before it lets ``backend`` compute the result.

    A model may call it several times a song, for a part of the sequences each; ``drawing`` says whether the song is
    still the first, of which the map is kept.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.queries = 0
        self.late_queries = 0
        self.distance = torch.zeros(0, 0)
        self.first = torch.zeros(0)
        self.sinks = torch.zeros(0)
        self.entropy = torch.zeros(0)
        self.even = torch.zeros(0)
        self.even_entropy = 0.0
        self.map = torch.zeros(0, 0)
        self.mapped = 0.0
        self.drawing = True

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, pattern: Pattern) -> Tensor:
        """(sequences, heads, sinks + frames, dim_head) each; the result is the backend's."""
        self.observe(q, k, pattern)
        return self.backend(q, k, v, pattern)

    def observe(self, q: Tensor, k: Tensor, pattern: Pattern) -> None:
        """Add the weights of the frames' queries to the sums."""
        sequences, heads, length, _ = q.shape
        sinks, frames = pattern.sinks, length - pattern.sinks
        farthest = frames if pattern.window is None else pattern.reach
        self._make_room(heads, frames)
        keys = sinks + min(frames, BLOCK_QUERIES + 2 * farthest)
        together = max(1, BLOCK_SCORES // (heads * BLOCK_QUERIES * keys))
        for start in range(0, frames, BLOCK_QUERIES):
            stop = min(start + BLOCK_QUERIES, frames)
            low, high = max(0, start - farthest), min(frames, stop + farthest)  # frames that these queries may see
            for part in range(0, sequences, together):
                block = q[part : part + together], k[part : part + together]
                weights, entropy = block_weights(*block, pattern, range(start, stop), range(low, high))
                self.entropy += entropy.sum((0, 2)).cpu().double()
                self._add(weights, start, low, frames, sinks)
        if self.drawing:
            self.mapped += sequences * heads / frames
        self.even += F.pad(even_share(frames), (0, len(self.even) - frames), value=1.0) * sequences * frames
        self.even_entropy += math.log(frames) * sequences * frames
        self.queries += sequences * frames
        self.late_queries += sequences * (frames - frames // 2)

    def _make_room(self, heads: int, frames: int) -> None:
        if not self.queries:
            self.first = torch.zeros(heads, FIRST, dtype=torch.float64)
            self.sinks, self.entropy = (torch.zeros(heads, dtype=torch.float64) for _ in range(2))
            self.distance = torch.zeros(heads, 0, dtype=torch.float64)
            self.even = torch.zeros(0, dtype=torch.float64)
            self.map = torch.zeros(min(MAP, frames), min(MAP, frames), dtype=torch.float64)
        if (more := frames - self.distance.shape[1]) > 0:
            self.distance = F.pad(self.distance, (0, more))
            self.even = F.pad(self.even, (0, more), value=float(self.queries))

    def _add(self, weights: Tensor, start: int, low: int, frames: int, sinks: int) -> None:
        """Weights (n, H, queries, sinks + keys) of queries from ``start`` on keys from ``low`` on."""
        summed = weights.sum(0).cpu().double()  # (H, queries, sinks + keys)
        self.sinks += summed[..., :sinks].sum((1, 2))
        summed = summed[..., sinks:]
        queries, keys = summed.shape[1:]
        query = start + torch.arange(queries)[:, None]
        key = low + torch.arange(keys)[None, :]
        self.distance.index_add_(1, (query - key).abs().flatten(), summed.flatten(1))
        late = summed[:, (query >= frames // 2).flatten()]  # (H, late queries, keys)
        near = max(0, min(FIRST, frames) - low)
        self.first[:, low : low + near] += late[..., :near].sum(1)
        if self.drawing and start < self.map.shape[0]:
            piece = summed.sum(0)[: self.map.shape[0] - start, : self.map.shape[1] - low]
            self.map[start : start + piece.shape[0], low : low + piece.shape[1]] += piece

    def statistics(self, axis: str, layer: int, block: int) -> HeadStatistics:
        """The averages over all queries so far."""
        return HeadStatistics(
            axis=axis,
            layer=layer,
            block=block,
            within=(self.distance / self.queries).cumsum(1),
            first=(self.first / self.late_queries).cumsum(1)[:, : self.distance.shape[1]],
            sinks=self.sinks / self.queries,
            entropy=self.entropy / self.queries,
            map=(self.map / (self.mapped or 1.0)).float(),
            even=self.even / self.queries,
            positions=math.exp(self.even_entropy / self.queries),
        )


def even_share(positions: int) -> Tensor:
    """Share within +-k of queries that look at all positions alike, averaged over the queries: (positions,)."""
    reach = torch.arange(positions, dtype=torch.float64)
    return (positions * (2 * reach + 1) - reach * (reach + 1)) / positions**2


def block_weights(q: Tensor, k: Tensor, pattern: Pattern, asking: range, asked: range) -> tuple[Tensor, Tensor]:
    """Softmax weights of the frames ``asking`` on the sinks and the frames ``asked``, and their entropies, in fp32.

    q, k: (n, H, sinks + frames, dim_head); results (n, H, asking, sinks + asked), (n, H, asking).
    """
    position = torch.arange(q.shape[-2], device=q.device)
    sinks, frames = position[: pattern.sinks], position[pattern.sinks :]
    query = frames[asking.start : asking.stop]
    key = torch.cat((sinks, frames[asked.start : asked.stop]))
    queries = q[:, :, query].float() * q.shape[-1] ** -0.5  # (n, H, b, E)
    keys = k[:, :, key].float()  # (n, H, S + l, E)
    scores = queries @ keys.transpose(-1, -2)  # (n, H, b, S + l)
    if pattern.window is not None:
        scores.masked_fill_(~pattern.allows(query[:, None], key), float("-inf"))
    highest, weights = scores.amax(-1), scores.softmax(-1)
    # Entropy = log of the softmax's sum - mean score: no logarithm of every weight, which took longest of all.
    log_sum = highest - weights.amax(-1).log()  # (n, H, b)
    mean_score = (queries * (weights @ keys)).sum(-1)  # (n, H, b)
    return weights, (log_sum - mean_score).clamp_min(0)

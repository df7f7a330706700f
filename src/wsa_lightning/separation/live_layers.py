"""The Roformer's layers over a sequence that never ends: every frame is computed once, as soon as it can be.

A frame's time attention needs the keys and values of half a window of frames after it (times the dilation), so each
attention returns its frames that much later, and keeps the keys and values of the past. Rotary attention depends on
differences of positions alone, so the position of a frame is its number in the stream.

Sinks see a whole song offline. Here they see the past: before every step they start again from their learned tokens,
attend in every layer to the frames that this layer has seen last, and stand just before them. So they are what they
would be for a block that ends now.
"""

from collections.abc import Iterable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from wsa_lightning.models import Roformer, RoformerConfig
from wsa_lightning.models.roformer import Layer
from wsa_lightning.models.transformer import Attention, Block


class LiveLayers:
    """All layers of a windowed student, and the state they keep: bounded, whatever has passed through.

    Args:
        model: windowed, in evaluation mode.
        memory: past frames that the sinks see.
    """

    def __init__(self, model: Roformer, memory: int) -> None:
        self.model = model
        self._layers = cast(Iterable[Layer], model.layers)
        self._blocks = [
            [_LiveBlock(cast(Block, block), model.config, memory) for block in layer.time.blocks]
            for layer in self._layers
        ]

    def step(self, tokens: Tensor, *, last: bool = False) -> Tensor:
        """Tokens (new, K, D) of new frames -> tokens (ready, K, D) of the oldest frames not yet returned."""
        config = self.model.config
        sinks = self.model.sinks if config.sinks else tokens.new_zeros(0, config.bands, config.dim)  # (S, K, D)
        for layer, blocks in zip(self._layers, self._blocks, strict=True):
            if not len(tokens) and not last:
                break
            x, s = tokens.transpose(0, 1), sinks.transpose(0, 1)  # (K, new, D), (K, S, D)
            for block in blocks:
                x, s = block.step(x, s, last=last)
            x = layer.time.norm(torch.cat((s, x), dim=1)).transpose(0, 1)  # (S + ready, K, D)
            if len(x):
                x = layer.frequency(x)
            tokens, sinks = x[config.sinks :], x[: config.sinks]
        return tokens


class _LiveBlock:
    """Windowed sink attention with a cache of keys and values, delayed by its reach; then the feed-forward."""

    def __init__(self, block: Block, config: RoformerConfig, memory: int) -> None:
        assert isinstance(block.attention, Attention)  # the patterns of other time mixers are full, which is refused
        self._attention, self._feed_forward = block.attention, block.feed_forward
        self._reach, self._memory = block.attention.pattern.reach, memory
        self._arrived = self._answered = 0  # frames since the stream began
        empty = block.attention.to_out.weight.new_zeros(config.bands, config.heads, 0, config.dim_head)
        self._queries = self._keys = self._values = empty  # of frames up to the newest
        self._gates = empty[..., :1]  # (K, H, waiting, 1)
        self._waiting = empty.new_zeros(config.bands, 0, config.dim)

    def step(self, x: Tensor, sinks: Tensor, *, last: bool) -> tuple[Tensor, Tensor]:
        """(K, new, D), (K, S, D) -> (K, ready, D), (K, S, D)."""
        self._waiting = torch.cat((self._waiting, x), dim=1)
        update, sink_update = self._attend(x, sinks, last=last)
        ready = update.shape[1]
        x = torch.cat((sinks + sink_update, self._waiting[:, :ready] + update), dim=1)  # (K, S + ready, D)
        self._waiting = self._waiting[:, ready:]
        x = self._feed_forward(x) + x
        return x[:, sinks.shape[1] :], x[:, : sinks.shape[1]]

    def _attend(self, x: Tensor, sinks: Tensor, *, last: bool) -> tuple[Tensor, Tensor]:
        """(K, new, D), (K, S, D) -> updates (K, ready, D), (K, S, D)."""
        self._remember(x)
        held = min(self._memory, self._arrived)
        start = self._arrived - held - sinks.shape[1]  # sinks stand just before the frames they see
        sink_q, sink_k, sink_v, sink_gates = self._project(sinks, start)  # (K, H, S, E)

        ready = max(0, self._arrived - self._answered - (0 if last else self._reach))
        oldest = self._arrived - self._keys.shape[2]
        first = max(0, self._answered - self._reach)
        stop = min(self._arrived, self._answered + ready + self._reach)
        near = slice(first - oldest, stop - oldest)
        out = F.scaled_dot_product_attention(
            self._queries[:, :, :ready],
            torch.cat((sink_k, self._keys[:, :, near]), dim=2),
            torch.cat((sink_v, self._values[:, :, near]), dim=2),
            attn_mask=self._seen(ready, first, stop),
        )  # (K, H, ready, E)
        past = slice(self._keys.shape[2] - held, None)
        sink_out = F.scaled_dot_product_attention(
            sink_q,
            torch.cat((sink_k, self._keys[:, :, past]), dim=2),
            torch.cat((sink_v, self._values[:, :, past]), dim=2),
        )  # (K, H, S, E)
        update = self._gated(out, self._gates[:, :, :ready])
        self._forget(ready)
        return update, self._gated(sink_out, sink_gates)

    def _remember(self, x: Tensor) -> None:
        q, k, v, gates = self._project(x, self._arrived)
        self._queries = torch.cat((self._queries, q), dim=2)
        self._keys, self._values = torch.cat((self._keys, k), dim=2), torch.cat((self._values, v), dim=2)
        self._gates = torch.cat((self._gates, gates), dim=2)
        self._arrived += x.shape[1]

    def _forget(self, answered: int) -> None:
        self._answered += answered
        self._queries, self._gates = self._queries[:, :, answered:], self._gates[:, :, answered:]
        oldest = min(self._arrived - self._memory, self._answered - self._reach)
        drop = max(0, oldest - (self._arrived - self._keys.shape[2]))
        self._keys, self._values = self._keys[:, :, drop:], self._values[:, :, drop:]

    def _project(self, x: Tensor, position: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(K, n, D) at ``position`` on -> q, k, v (K, H, n, E), turned, and gates (K, H, n, 1)."""
        attention = self._attention
        x = attention.norm(x)
        q, k, v = attention.to_qkv(x).unflatten(-1, (3, attention.heads, -1)).transpose(1, 3).unbind(2)
        # fp64: an hour has 360 000 frames, and an angle must be right to a small part of a turn.
        positions = torch.arange(position, position + x.shape[1], device=x.device, dtype=torch.float64)
        angle = positions[:, None] * attention.rotary.frequencies.double()  # (n, E / 2)
        turn = torch.polar(torch.ones_like(angle), angle).to(torch.complex64)
        gates = attention.to_gates(x).sigmoid().transpose(1, 2)[..., None]  # (K, H, n, 1)
        return _turned(q, turn), _turned(k, turn), v, gates

    def _seen(self, ready: int, first: int, stop: int) -> Tensor:
        """(ready, S + stop - first) bool: what the frames that become ready see of sinks and frames."""
        pattern, device = self._attention.pattern, self._keys.device
        query = pattern.sinks + torch.arange(self._answered, self._answered + ready, device=device)
        frames = pattern.sinks + torch.arange(first, stop, device=device)
        return pattern.allows(query[:, None], torch.cat((torch.arange(pattern.sinks, device=device), frames)))

    def _gated(self, out: Tensor, gates: Tensor) -> Tensor:
        """(K, H, n, E) -> (K, n, D)."""
        return self._attention.to_out((out * gates).transpose(1, 2).flatten(-2))


def _turned(x: Tensor, turn: Tensor) -> Tensor:
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * turn).flatten(-2).to(x.dtype)

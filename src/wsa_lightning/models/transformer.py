"""The transformer both axes share: pre-norm gated attention and feed-forward, each with its residual."""

from collections.abc import Callable, Iterable
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsa_lightning.attention import Backend, Pattern, attend
from wsa_lightning.errors import UserError
from wsa_lightning.models.config import ATTENTION, RoformerConfig
from wsa_lightning.models.rotary import Rotary

SomeMixer = TypeVar("SomeMixer", bound="TimeMixer")
NUMBERS_AT_A_TIME = 1 << 21
"""How many numbers of the widest activation exist at once on the CPU without gradients: 8 MB in fp32."""


def in_parts(function: Callable[[Tensor], Tensor], x: Tensor, width: int, *, reuse: bool = False) -> Tensor:
    """``function(x)``, on the CPU and without gradients for a part of the first axis at a time.

    The parts stay in the cache and their memory is reused: fresh memory costs more than many products.

    Args:
        function: treats every entry of the first axis alike, and keeps that axis.
        x: (entries, ..., D).
        width: numbers of the widest activation inside ``function``, for each D.
        reuse: the result may overwrite ``x``.
    """
    if not runs_in_place(x):
        return function(x)
    size = max(1, NUMBERS_AT_A_TIME // max(1, width * x.shape[1:-1].numel()))
    if len(x) <= size:
        return function(x)
    first = function(x[:size])
    fits = reuse and (first.shape[1:], first.dtype) == (x.shape[1:], x.dtype)
    out = x if fits else first.new_empty(len(x), *first.shape[1:])
    out[:size] = first
    for start in range(size, len(x), size):
        out[start : start + size] = function(x[start : start + size])
    return out


def runs_in_place(x: Tensor) -> bool:
    """Whether memory may be reused: on the CPU, where no gradient needs it and no graph is made."""
    is_traced = torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None
    return not torch.is_grad_enabled() and x.device.type == "cpu" and not is_traced


class RMSNorm(nn.Module):
    """x / max(||x||, 1e-12) * sqrt(width) * gamma, over the last axis, in fp32 (fp16 of silence would be NaN)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) -> the same."""
        normed, scale = F.normalize(x.float(), dim=-1), x.shape[-1] ** 0.5 * self.gamma.float()
        # Large fresh memory costs more than the product itself.
        normed = normed * scale if torch.is_grad_enabled() else normed.mul_(scale)
        return normed.to(x.dtype)


class Attention(nn.Module):
    """Multi-head attention with rotary positions, one sigmoid gate a head, full or windowed with sinks."""

    def __init__(self, config: RoformerConfig, pattern: Pattern, backend: str | Backend) -> None:
        super().__init__()
        self.heads = config.heads
        self.pattern, self.backend = pattern, backend
        inner = config.heads * config.dim_head
        self.norm = RMSNorm(config.dim)
        self.to_qkv = nn.Linear(config.dim, 3 * inner, bias=False)
        self.to_gates = nn.Linear(config.dim, config.heads)
        self.to_out = nn.Linear(inner, config.dim, bias=False)
        self.rotary = Rotary(config.dim_head)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (sequences, L, D) -> update (sequences, L, D)."""
        return in_parts(self._update, x, self.to_qkv.out_features)

    def _update(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        qkv = self.to_qkv(x).unflatten(-1, (3 * self.heads, -1))  # (N, L, 3 H, E)
        qk, v = qkv.split((2 * self.heads, self.heads), dim=2)  # (N, L, 2 H, E), (N, L, H, E)
        q, k = self.rotary(qk).chunk(2, dim=2)  # 2 x (N, L, H, E)
        out = attend(
            q.transpose(1, 2),  # (N, H, L, E)
            k.transpose(1, 2),
            v.transpose(1, 2),
            self.pattern,
            self.backend,
        )  # (N, H, L, E)
        gate = self.to_gates(x).sigmoid()  # (N, L, H)
        out = out.transpose(1, 2) * gate[..., None]  # (N, L, H, E)
        return self.to_out(out.flatten(-2))  # (N, L, D)


TimeMixer = Callable[[RoformerConfig, Pattern, str | Backend], nn.Module]
"""Makes a module that maps tokens (sequences, L, D) to their update, of the same shape; sinks come first in L."""

TIME_MIXERS: dict[str, TimeMixer] = {ATTENTION: Attention}


def time_mixer(name: str) -> Callable[[SomeMixer], SomeMixer]:
    """Decorator: make a module a time mixing, known as ``name`` in ``RoformerConfig.time_mixer``.

    Raises:
        ValueError: a name that is taken.
    """

    def register(mixer: SomeMixer) -> SomeMixer:
        if name in TIME_MIXERS:
            raise ValueError(f"there is a time mixer {name!r} already: choose another name")
        TIME_MIXERS[name] = mixer
        return mixer

    return register


def make_time_mixer(config: RoformerConfig, pattern: Pattern, backend: str | Backend) -> nn.Module:
    """The mixing over time of one block.

    Raises:
        UserError: a name that nothing has registered.
    """
    if config.time_mixer not in TIME_MIXERS:
        raise UserError(
            f"time_mixer is {config.time_mixer!r}: expected one of {', '.join(TIME_MIXERS)}. If a module of yours "
            "registers it, name that module in --plugins, or in the environment variable WSA_LIGHTNING_PLUGINS"
        )
    return TIME_MIXERS[config.time_mixer](config, pattern, backend)


class FeedForward(nn.Sequential):
    """RMSNorm, Linear D -> mult D, GELU, Linear back."""

    def __init__(self, config: RoformerConfig) -> None:
        hidden = config.ff_mult * config.dim
        super().__init__(RMSNorm(config.dim), nn.Linear(config.dim, hidden), nn.GELU(), nn.Linear(hidden, config.dim))
        self.hidden = hidden


class Block(nn.Module):
    """Attention (or another mixing) + residual, feed-forward + residual."""

    def __init__(self, config: RoformerConfig, mixer: nn.Module) -> None:
        super().__init__()
        self.attention = mixer
        self.feed_forward = FeedForward(config)

    def forward(self, x: Tensor, *, reuse: bool = False) -> Tensor:
        """(sequences, L, D) -> the same; with ``reuse`` it may overwrite ``x`` where no gradient needs it."""
        update = self.attention(x)
        x = x.add_(update) if reuse and runs_in_place(x) else update + x
        rows = x.flatten(0, -2)
        return in_parts(self._fed_forward, rows, self.feed_forward.hidden, reuse=True).unflatten(0, x.shape[:-1])

    def _fed_forward(self, x: Tensor) -> Tensor:
        return self.feed_forward(x) + x


class Transformer(nn.Module):
    """A block for every mixer, over one axis; the mel_band family adds a norm at the end."""

    def __init__(self, config: RoformerConfig, mixers: Iterable[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(config, mixer) for mixer in mixers)
        self.norm = RMSNorm(config.dim) if config.family == "mel_band" else nn.Identity()

    def forward(self, x: Tensor, *, reuse: bool = False) -> Tensor:
        """(sequences, L, D) -> the same; with ``reuse`` it may overwrite ``x`` where no gradient needs it."""
        for block in self.blocks:
            x = block(x, reuse=reuse)
            reuse = True  # nothing else holds what a block returns
        return x if isinstance(self.norm, nn.Identity) else in_parts(self.norm, x, x.shape[-1], reuse=True)

"""A copy of a model that a trace can read: without weights; attention, STFT and convolutions are one operator each."""

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from wsa_lightning.attention import Pattern, attention_flops
from wsa_lightning.models.config import RoformerConfig
from wsa_lightning.models.roformer import Roformer
from wsa_lightning.models.transformer import Attention

ATTENTION = "wsa_lightning::windowed_sink_attention"


def weightless_copy(model: Roformer) -> Roformer:
    """The model in eval mode on the meta device, with attention, STFT and convolutions as operators fvcore can see."""
    model = getattr(model, "_orig_mod", model)  # torch.compile's wrapper hides the operators
    memo: dict[int, Any] = {id(weight): nn.Parameter(weight.to("meta")) for weight in model.parameters()}
    memo |= {id(buffer): buffer.to("meta") for buffer in model.buffers()}
    weightless = copy.deepcopy(model, memo).float().eval()  # what memo holds is taken, not copied
    for module in list(weightless.modules()):
        if isinstance(module, Attention):
            module.backend = _traced_attention
        for name, child in module.named_children():
            if isinstance(child, nn.modules.conv._ConvNd):
                setattr(module, name, _TracedConvolution(child))
    weightless.spectral = _TracedSpectral(weightless.config)
    return weightless


class _TracedSpectral(nn.Module):
    """Replaces ``Spectral``, because neither autocast nor ``torch.istft`` runs on the meta device."""

    def __init__(self, config: RoformerConfig) -> None:
        super().__init__()
        self.bins, self.hop_length = config.bins, config.hop_length

    def forward(self, audio: Tensor) -> Tensor:
        """(..., N) -> (..., F, T)."""
        *signals, samples = _sizes(audio)
        frames = max(samples, self.bins) // self.hop_length + 1
        return _STFT(audio, [*signals, self.bins, frames], math.prod(signals) * frames)

    def inverse(self, spectrum: Tensor, length: int) -> Tensor:
        """(..., F, T) -> (..., length)."""
        *signals, _, frames = _sizes(spectrum)
        return _ISTFT(spectrum, [*signals, int(length)], math.prod(signals) * frames)


def _traced_attention(q: Tensor, k: Tensor, v: Tensor, pattern: Pattern) -> Tensor:
    """An attention backend; its multiply-accumulates are those of QK^T and PV over the allowed pairs."""
    sequences, heads, length, dim_head = _sizes(q)
    flops = attention_flops(sequences * pattern.pairs(length - pattern.sinks), heads, dim_head)
    return _ATTENTION(q + k + v, _sizes(v), flops // 2)


class _TracedConvolution(nn.Module):
    """Replaces a convolution module, whose shape function PyTorch cannot run while it traces on the meta device."""

    def __init__(self, convolution: nn.modules.conv._ConvNd) -> None:
        super().__init__()
        self.convolution = [convolution]  # in a list, so that the module keeps its path in the report

    def forward(self, x: Tensor) -> Tensor:
        (convolution,) = self.convolution
        sizes = _sizes(x)
        tracing, set_tracing = torch._C._get_tracing_state(), vars(torch._C)["_set_tracing_state"]
        set_tracing(None)
        try:
            shape = list(convolution(torch.empty(sizes, device="meta")).shape)
            # Each input of a transposed convolution, and each output of any other, takes part in so many products.
            macs = math.prod(sizes if convolution.transposed else shape) * convolution.weight[0].numel()
        finally:
            set_tracing(tracing)
        return _CONVOLUTION(x, shape, macs)


def _sizes(x: Tensor) -> list[int]:
    """The shape as numbers: a trace would record how they are computed."""
    return [int(size) for size in x.shape]


def _stand_in(name: str, dtype: torch.dtype) -> Callable[[Tensor, Sequence[int], int], Tensor]:
    """An operator (input, shape of the result, how much is to be counted) that can only be traced.

    Used for counting only: inductor cannot see, and so cannot fuse, what a custom operator does.
    """

    def refuse(x: Tensor, shape: Sequence[int], work: int) -> Tensor:
        raise NotImplementedError(f"{name} only stands for what is counted in a trace on the meta device")

    operator = torch.library.custom_op(
        name, refuse, mutates_args=(), schema="(Tensor x, int[] shape, int work) -> Tensor"
    )
    operator.register_fake(lambda x, shape, work: x.new_empty(shape, dtype=dtype))
    return operator


_ATTENTION = _stand_in(ATTENTION, torch.float32)
_CONVOLUTION = _stand_in("wsa_lightning::convolution", torch.float32)
_STFT = _stand_in("wsa_lightning::stft", torch.complex64)
_ISTFT = _stand_in("wsa_lightning::istft", torch.float32)
STAND_INS = (ATTENTION, "wsa_lightning::convolution", "wsa_lightning::stft", "wsa_lightning::istft")
"""Their last argument is their number of multiply-accumulates; of STFTs, of transforms."""

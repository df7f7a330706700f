"""A copy of a model that a trace can read: without weights; attention, STFT and convolutions are one operator each."""

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn

from wsa_lightning.attention import Pattern
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
        return _stft(audio, self.bins, max(audio.shape[-1], self.bins) // self.hop_length + 1)

    def inverse(self, spectrum: Tensor, length: int) -> Tensor:
        """(..., F, T) -> (..., length)."""
        return _istft(spectrum, length)


def _traced_attention(q: Tensor, k: Tensor, v: Tensor, pattern: Pattern) -> Tensor:
    """An attention backend: one node in the trace, that tells its handle how many pairs a sequence has."""
    return _attention(q, k, v, pattern.pairs(int(q.shape[-2]) - pattern.sinks))


class _TracedConvolution(nn.Module):
    """Replaces a convolution module, whose shape function PyTorch cannot run while it traces on the meta device."""

    def __init__(self, convolution: nn.modules.conv._ConvNd) -> None:
        super().__init__()
        self.convolution = [convolution]  # in a list, so that the module keeps its path in the report

    def forward(self, x: Tensor) -> Tensor:
        """As the convolution does."""
        (convolution,) = self.convolution
        sizes = [int(size) for size in x.shape]
        tracing, set_tracing = torch._C._get_tracing_state(), vars(torch._C)["_set_tracing_state"]
        set_tracing(None)
        try:
            shape = list(convolution(torch.empty(sizes, device="meta")).shape)
            # Each input of a transposed convolution, and each output of any other, takes part in so many products.
            macs = math.prod(sizes if convolution.transposed else shape) * convolution.weight[0].numel()
        finally:
            set_tracing(tracing)
        return _convolution(x, shape, macs)


# Used for counting only: inductor cannot see, and so cannot fuse, what a custom operator does.
@torch.library.custom_op(ATTENTION, mutates_args=(), schema="(Tensor q, Tensor k, Tensor v, int pairs) -> Tensor")
def _attention(q: Tensor, k: Tensor, v: Tensor, pairs: int) -> Tensor:
    raise NotImplementedError("this operator only stands for attention in a trace on the meta device")


@_attention.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, pairs: int) -> Tensor:
    return torch.empty_like(v)


@torch.library.custom_op(
    "wsa_lightning::convolution", mutates_args=(), schema="(Tensor x, int[] shape, int macs) -> Tensor"
)
def _convolution(x: Tensor, shape: list[int], macs: int) -> Tensor:
    raise NotImplementedError("this operator only stands for a convolution in a trace on the meta device")


@_convolution.register_fake
def _(x: Tensor, shape: list[int], macs: int) -> Tensor:
    return x.new_empty(shape)


@torch.library.custom_op(
    "wsa_lightning::stft", mutates_args=(), schema="(Tensor audio, int bins, int frames) -> Tensor"
)
def _stft(audio: Tensor, bins: int, frames: int) -> Tensor:
    raise NotImplementedError("this operator only stands for the STFT in a trace on the meta device")


@_stft.register_fake
def _(audio: Tensor, bins: int, frames: int) -> Tensor:
    return audio.new_empty(*audio.shape[:-1], bins, frames, dtype=torch.complex64)


@torch.library.custom_op("wsa_lightning::istft", mutates_args=(), schema="(Tensor spectrum, int length) -> Tensor")
def _istft(spectrum: Tensor, length: int) -> Tensor:
    raise NotImplementedError("this operator only stands for the inverse STFT in a trace on the meta device")


@_istft.register_fake
def _(spectrum: Tensor, length: int) -> Tensor:
    return spectrum.new_empty(*spectrum.shape[:-2], length, dtype=torch.float32)

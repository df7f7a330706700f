"""What a Roformer costs: FLOPs counted by fvcore on a trace, and the same numbers in closed form.

FLOPs are 2 x multiply-accumulates. Matrix products count: linear layers, and attention's QK^T and PV over
the pairs the mask allows, whatever a backend computes besides. Norms, softmax, rotary embedding, activations
and gates count 0, as in the literature. The STFT and its inverse stand on a line of their own.

fvcore has no handle for attention and passes over what it does not know. Here the whole forward pass is traced, from
audio to audio, on a copy that calls attention, STFT and inverse STFT as one operator each; they have handles of
their own (``HANDLES``), and an operator that has neither a handle nor a place on the list of free ones is an error.
"""

import copy
import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from fvcore.nn import FlopCountAnalysis
from fvcore.nn.jit_handles import get_shape, linear_flop_jit
from torch import Tensor, nn

from wsa_lightning.attention.blocked import executed_pairs
from wsa_lightning.attention.pattern import allowed_pairs, attention_flops, paper_pairs
from wsa_lightning.errors import UserError
from wsa_lightning.models.bands import band_bins
from wsa_lightning.models.config import RoformerConfig
from wsa_lightning.models.roformer import Roformer
from wsa_lightning.models.transformer import Attention

FREE_OPERATORS = (
    "add", "clamp_min", "complex", "cos", "div", "expand_as", "gelu", "glu", "index_add", "linalg_vector_norm",
    "mul", "mul_", "pow", "sigmoid", "sin", "sub", "tanh", "unflatten", "view_as_complex", "view_as_real",
)  # fmt: skip
"""ATen operators without a matrix product, besides those that fvcore ignores by itself."""


@dataclass(frozen=True)
class FlopReport:
    """FLOPs of one forward pass of one mixture, and the score pairs of its time attention.

    Attributes:
        seconds: duration of the mixture.
        frames: its STFT frames, T; sinks are not among them.
        linear: FLOPs of all linear layers.
        time_attention: FLOPs of QK^T and PV over time, over the pairs the mask allows.
        frequency_attention: the same over frequency, where every pair is allowed.
        by_module: ``total`` parted by ``band_split``, ``layers.{i}.time``, ``layers.{i}.frequency``,
            ``mask_estimators``.
        stft: FLOPs of the STFT and its inverse, outside ``total``: 2.5 n log2 n a real FFT of size n
            (FFTW's convention), windowing and overlap-add not counted.
        paper_pairs: the paper's T (w + S) pairs, T² for full attention; pairs are per head, band and block, and where
            layers have windows of their own the mean over the layers, rounded.
        exact_pairs: pairs the mask allows, the sinks' own rows included.
        executed_pairs: pairs the ``blocked`` backend computes, whole blocks being dense.
        time_attention_paper: ``time_attention``, had the mask the paper's pairs.
        time_attention_executed: ``time_attention`` as the ``blocked`` backend computes it.
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

    @property
    def total(self) -> int:
        """FLOPs of the network: linear layers and attention."""
        return self.linear + self.time_attention + self.frequency_attention


def count(model: Roformer, seconds: float = 8.0) -> FlopReport:
    """Count the FLOPs of one forward pass through fvcore, on a weightless copy: any size, any duration.

    Args:
        model: on any device, in any mode, compiled or not; it is left untouched.
        seconds: duration of the mixture, one of them, at the model's sample rate.

    Raises:
        UserError: a duration that is not a positive number.
        RuntimeError: the model runs an operator that is neither counted nor known to be free.
    """
    frames = _frames(model.config, seconds)
    core = _weightless_copy(model)
    config, macs = core.config, _macs(core, seconds)

    def flops(modules: Iterable[str], operator: str | None = None) -> int:
        return sum(2 * int(n) for name in modules for op, n in macs[name].items() if operator in (None, op))

    time = [f"layers.{i}.time" for i in range(config.depth)]
    frequency = [f"layers.{i}.frequency" for i in range(config.depth)]
    attention = _OPERATOR.partition("::")[2]
    return FlopReport(
        seconds=seconds,
        frames=frames,
        linear=flops([""], "linear"),
        time_attention=flops(time, attention),
        frequency_attention=flops(frequency, attention),
        by_module={name: flops([name]) for name in ("band_split", *time, *frequency, "mask_estimators")},
        stft=_stft_flops(config, macs[""]["stft"] + macs[""]["istft"]),
        **_pairs(config, frames),
    )


def closed_form(config: RoformerConfig, seconds: float = 8.0) -> FlopReport:
    """The report that ``count`` gives for ``Roformer(config)``, by arithmetic alone; same ``UserError``."""
    frames, bands, dim = _frames(config, seconds), config.bands, config.dim
    inner, length = config.heads * config.dim_head, config.sinks + frames
    widths = [2 * config.channels * len(bins) for bins in band_bins(config)]  # re and im

    token_macs = dim * (3 * inner) + dim * config.heads + inner * dim + 2 * config.ff_mult * dim * dim
    block_linear = 2 * length * bands * token_macs  # of either axis: sinks pass through both
    time_linear = config.time_blocks * block_linear
    frequency_linear = config.frequency_blocks * block_linear

    time_attention = [
        attention_flops(config.time_blocks * bands * pairs, config.heads, config.dim_head)
        for pairs in _per_layer(allowed_pairs, config, frames)
    ]
    frequency_pairs = config.frequency_blocks * length * bands**2
    frequency_attention = attention_flops(frequency_pairs, config.heads, config.dim_head)

    hidden = config.mlp_expansion_factor * dim
    hidden_macs = dim * hidden + (config.mask_hidden_layers - 1) * hidden * hidden
    mask_macs = sum(hidden_macs + hidden * 2 * width for width in widths)  # twice the width: GLU halves it
    band_split = 2 * frames * sum(widths) * dim
    mask_estimators = 2 * len(config.stems) * frames * mask_macs

    layers = range(config.depth)
    return FlopReport(
        seconds=seconds,
        frames=frames,
        linear=band_split + config.depth * (time_linear + frequency_linear) + mask_estimators,
        time_attention=sum(time_attention),
        frequency_attention=config.depth * frequency_attention,
        by_module={
            "band_split": band_split,
            **{f"layers.{i}.time": time_linear + time_attention[i] for i in layers},
            **{f"layers.{i}.frequency": frequency_linear + frequency_attention for i in layers},
            "mask_estimators": mask_estimators,
        },
        stft=_stft_flops(config, (1 + len(config.stems)) * config.channels * frames),
        **_pairs(config, frames),
    )


def _frames(config: RoformerConfig, seconds: float) -> int:
    if not (math.isfinite(seconds) and seconds > 0):
        raise UserError(f"seconds is {seconds}: expected a positive duration")
    # What is too short to be reflected is padded to n_fft // 2 + 1 samples, the number of bins.
    return config.frames(max(seconds, config.bins / config.sample_rate))


def _macs(core: Roformer, seconds: float) -> dict[str, Counter[str]]:
    """fvcore's verdict on a forward pass: multiply-accumulates (STFTs: transforms) by module, then by operator."""
    samples = max(1, round(seconds * core.config.sample_rate))
    mixture = torch.empty(1, core.config.channels, samples, device="meta")
    analysis = FlopCountAnalysis(core, mixture).clear_op_handles()
    analysis.set_op_handle(**{f"aten::{name}": None for name in FREE_OPERATORS})
    analysis.set_op_handle(**HANDLES)
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    with torch.no_grad():
        macs: dict[str, Counter[str]] = analysis.by_module_and_operator()
    if unknown := sorted(analysis.unsupported_ops()):
        raise RuntimeError(f"cannot count {unknown}: give each a handle, or list it in FREE_OPERATORS")
    return macs


def _stft_flops(config: RoformerConfig, transforms: int) -> int:
    return round(transforms * 2.5 * config.n_fft * math.log2(config.n_fft))


def _pairs(config: RoformerConfig, frames: int) -> dict[str, int]:
    paper, exact, executed = (
        sum(_per_layer(formula, config, frames)) for formula in (paper_pairs, allowed_pairs, executed_pairs)
    )
    pair = attention_flops(config.time_blocks * config.bands, config.heads, config.dim_head)
    return {
        "paper_pairs": round(paper / config.depth),
        "exact_pairs": round(exact / config.depth),
        "executed_pairs": round(executed / config.depth),
        "time_attention_paper": pair * paper,
        "time_attention_executed": pair * executed,
    }


def _per_layer(formula: Callable[[int, int | None, int], int], config: RoformerConfig, frames: int) -> list[int]:
    return [formula(frames, window, config.sinks) for window in config.windows]


def _weightless_copy(model: Roformer) -> Roformer:
    """The model in eval mode on the meta device, with attention and STFT as operators fvcore can see."""
    model = getattr(model, "_orig_mod", model)  # torch.compile's wrapper hides the operators
    memo: dict[int, Any] = {id(weight): nn.Parameter(weight.to("meta")) for weight in model.parameters()}
    memo |= {id(buffer): buffer.to("meta") for buffer in model.buffers()}
    weightless = copy.deepcopy(model, memo).float().eval()  # what memo holds is taken, not copied
    for module in weightless.modules():
        if isinstance(module, Attention):
            module.backend = _attention  # type: ignore[assignment]
    weightless.spectral = _TracedSpectral(weightless.config)
    return weightless


class _TracedSpectral(nn.Module):
    """Stands in for ``Spectral``, for neither autocast nor ``torch.istft`` runs on the meta device."""

    def __init__(self, config: RoformerConfig) -> None:
        super().__init__()
        self.bins, self.hop_length = config.bins, config.hop_length

    def forward(self, audio: Tensor) -> Tensor:
        """(..., N) -> (..., F, T)."""
        return _stft(audio, self.bins, max(audio.shape[-1], self.bins) // self.hop_length + 1)

    def inverse(self, spectrum: Tensor, length: int) -> Tensor:
        """(..., F, T) -> (..., length)."""
        return _istft(spectrum, length)


_OPERATOR = "wsa_lightning::windowed_sink_attention"


# One node in the trace, for a handle to read its shapes and its pattern. Used for counting only: inductor
# cannot see, and so cannot fuse, what a custom operator does.
@torch.library.custom_op(
    _OPERATOR, mutates_args=(), schema="(Tensor q, Tensor k, Tensor v, int? window, int sinks) -> Tensor"
)
def _attention(q: Tensor, k: Tensor, v: Tensor, window: int | None, sinks: int) -> Tensor:
    raise NotImplementedError("this operator only stands for attention in a trace on the meta device")


@_attention.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, window: int | None, sinks: int) -> Tensor:
    return torch.empty_like(v)


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


def _attention_macs(inputs: list[Any], outputs: list[Any]) -> int:
    """fvcore's handle: multiply-accumulates of QK^T and PV over the allowed pairs of every sequence."""
    sequences, heads, length, dim_head = get_shape(inputs[0])
    window, sinks = inputs[3].toIValue(), inputs[4].toIValue()
    pairs = sequences * allowed_pairs(length - sinks, window, sinks)
    return attention_flops(pairs, heads, dim_head) // 2


def _sdpa_macs(inputs: list[Any], outputs: list[Any]) -> int:
    """PyTorch's own attention without a mask; what a mask allows cannot be read off its shape."""
    mask, causal = inputs[3], inputs[5]
    if mask.type().kind() != "NoneType" or causal.toIValue():
        raise RuntimeError("cannot count scaled_dot_product_attention with a mask: call windowed_sink_attention")
    *batch, queries, dim_head = get_shape(inputs[0])
    keys, width = get_shape(inputs[2])[-2:]
    return math.prod(batch) * queries * keys * (dim_head + width)


def _einsum_macs(inputs: list[Any], outputs: list[Any]) -> int:
    """Two operands: one multiply-accumulate a combination of the indices that take part; a mere product is free."""
    equation = inputs[0].toIValue().replace(" ", "")
    shapes = [get_shape(operand) for operand in inputs[1].node().inputs()]
    terms, _, result = equation.partition("->")
    if len(shapes) != 2 or "->" not in equation or "." in equation:
        raise RuntimeError(f"cannot count einsum {equation!r}: expected two operands, named indices and a result")
    left, right = (dict(zip(term, shape, strict=True)) for term, shape in zip(terms.split(","), shapes, strict=True))
    # An index of one operand alone that is not in the result is summed before the product.
    contracted = (left.keys() & right.keys()) - set(result)
    if not contracted:
        return 0
    taking_part = contracted | set(result)
    return math.prod(max(left.get(index, 1), right.get(index, 1)) for index in taking_part)


def _transforms(inputs: list[Any], outputs: list[Any]) -> int:
    """How many FFTs an (inverse) STFT makes: signals times frames."""
    spectrum = inputs[0] if len(get_shape(inputs[0])) > len(get_shape(outputs[0])) else outputs[0]
    *signals, _, frames = get_shape(spectrum)
    return math.prod(signals) * frames


HANDLES = {
    "aten::linear": linear_flop_jit,
    "aten::einsum": _einsum_macs,
    "aten::scaled_dot_product_attention": _sdpa_macs,
    "wsa_lightning::stft": _transforms,
    "wsa_lightning::istft": _transforms,
    _OPERATOR: _attention_macs,
}
"""What is counted, and how; every handle is held against a second witness in the tests."""

"""The STFT-free core of a model as ONNX: spectrum in, mask out, complex numbers as pairs, any length and batch.

ONNX has no complex numbers and its runtimes no windowed attention: the rotary embedding becomes a real rotation, and
the window a batch of small dense attentions over blocks, linear in time like ``attention.blocked``.
"""

import contextlib
import copy
import json
import logging
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from wsa_lightning.atomic import replacing
from wsa_lightning.attention.layout import block_size
from wsa_lightning.checkpoints.reading import METADATA_KEY
from wsa_lightning.errors import UserError
from wsa_lightning.models import Roformer
from wsa_lightning.models.rotary import Rotary
from wsa_lightning.models.transformer import Attention

OPSET = 18
LARGEST = 2**31 - 2**20
"""Bytes of weights that fit one ONNX file, for protobuf ends at 2 GiB."""


def save_onnx(model: Roformer, path: Path | str) -> None:
    """Write the core of a model to one ONNX file, atomically.

    Input ``spectrum`` (B, C, F, T, 2) and output ``mask`` (B, stems, C, F, T, 2), fp32, real and imaginary part last;
    B and T are free. The metadata entry ``wsa_lightning`` holds the config as JSON: STFT sizes, zero_dc, stems.

    Raises:
        UserError: the ``onnx`` extra is missing, or the weights exceed what one file can hold.
    """
    if missing := [name for name in ("onnx", "onnxscript") if find_spec(name) is None]:
        raise UserError(f"ONNX export needs {' and '.join(missing)}: pip install 'wsa-lightning[onnx]'")
    size = sum(tensor.numel() * 4 for tensor in model.state_dict().values())
    if size > LARGEST:
        raise UserError(
            f"the weights take {size / 2**30:.2f} GiB: expected less than 2 GiB, the most one ONNX file holds"
        )
    with _quiet():
        program = torch.onnx.export(
            _captured(model),
            (),
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=["spectrum"],
            output_names=["mask"],
        )
    assert program is not None
    program.model.metadata_props[METADATA_KEY] = json.dumps({"config": model.config.to_dict()})
    with replacing(Path(path)) as temporary:
        program.save(str(temporary), external_data=False)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps what the exporter says of packages and deprecations that concern nobody here off the terminal."""
    exporter = logging.getLogger("torch.onnx")
    level = exporter.level
    exporter.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=FutureWarning)
            yield
    finally:
        exporter.setLevel(level)


def _captured(model: Roformer) -> torch.export.ExportedProgram:
    """The core as a graph with free batch and frames.

    The capture wants more than one block of frames; the operators it finds are right for fewer as well.
    """
    config = model.config
    block = max(block_size(window or 1) * dilation for window, dilation in config.patterns)
    frames, batch = torch.export.Dim("frames", min=block + 1), torch.export.Dim("batch")
    with torch.no_grad():
        return torch.export.export(
            Core(model).eval(),
            (torch.randn(2, config.channels, config.bins, 3 * block + 1, 2),),
            dynamic_shapes={"spectrum": {0: batch, 3: frames}},
            strict=False,
            prefer_deferred_runtime_asserts_over_guards=True,
        )


class Core(nn.Module):
    """``Roformer.estimate_mask`` without complex numbers."""

    def __init__(self, model: Roformer) -> None:
        super().__init__()
        self.net = copy.deepcopy(model).float()
        for module in self.net.modules():
            if isinstance(module, Attention):
                module.rotary = RealRotary(module.rotary)  # type: ignore[assignment]
                module.backend = blocks_attention  # type: ignore[assignment]

    def forward(self, spectrum: Tensor) -> Tensor:
        """(B, C, F, T, 2) -> (B, stems, C, F, T, 2)."""
        net, merge = self.net, self.net.band_merge
        x = net.band_split(spectrum.permute(0, 3, 2, 1, 4).flatten(2, 3))  # (B, T, K, D)
        x = net.prepend_sinks(x)  # (B, S + T, K, D)
        for layer in net.layers:
            x = layer(x)
        x = net.norm(x[:, net.config.sinks :])  # (B, T, K, D)
        gains = torch.stack([estimator(x) for estimator in net.mask_estimators], dim=1)  # (B, stems, T, entries, 2)
        merged = gains.new_zeros(*gains.shape[:3], merge.bins * merge.channels, 2)
        merged = merged.index_add(3, merge.entries, gains) / merge.holders[:, None]  # (B, stems, T, F C, 2)
        return merged.unflatten(3, (merge.bins, merge.channels)).permute(0, 1, 4, 3, 2, 5)


class RealRotary(nn.Module):
    """``Rotary`` as (re cos - im sin, re sin + im cos)."""

    frequencies: Tensor

    def __init__(self, rotary: Rotary) -> None:
        super().__init__()
        self.register_buffer("frequencies", rotary.frequencies, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(..., positions, heads, dim_head) -> the same, turned."""
        angle = torch.arange(x.shape[-3], device=x.device).float()[:, None, None] * self.frequencies  # (L, 1, E / 2)
        re, im = x.unflatten(-1, (-1, 2)).unbind(-1)
        cos, sin = angle.cos(), angle.sin()
        return torch.stack((re * cos - im * sin, re * sin + im * cos), dim=-1).flatten(-2)


def blocks_attention(q: Tensor, k: Tensor, v: Tensor, *, window: int | None, sinks: int, dilation: int = 1) -> Tensor:
    """``attention.blocked`` in operators that export with a free number of frames: a block and its two neighbours.

    q, k, v and result are (batch, heads, sinks + frames, dim_head).
    """
    if window is None:
        return attend(q, k, v)
    frames, half, block = q.shape[2] - sinks, window // 2, block_size(window)
    unit = block * dilation
    blocks = (frames + unit - 1) // unit

    def cut(x: Tensor) -> Tensor:
        """(B, H, T, E) -> (B, H, d, n, b, E), zeros behind the last frame."""
        padded = torch.cat((x, x.new_zeros(1, 1, unit, 1).expand(x.shape[0], x.shape[1], unit, x.shape[3])), dim=2)
        return padded[:, :, : blocks * unit].unflatten(2, (blocks, block, dilation)).permute(0, 1, 4, 2, 3, 5)

    def stretches(x: Tensor) -> Tensor:
        """Sinks, the half window before a block, the block, the half window behind it: (B, H, d, n, S + b + 2h, E)."""
        own = cut(x[:, :, sinks:])
        none = torch.zeros_like(own[:, :, :, :1])
        before = torch.cat((none, own[:, :, :, :-1]), dim=3)[:, :, :, :, block - half :]
        behind = torch.cat((own[:, :, :, 1:], none), dim=3)[:, :, :, :, :half]
        shared = x[:, :, None, None, :sinks].expand(-1, -1, dilation, blocks, -1, -1)
        return torch.cat((shared, before, own, behind), dim=4)

    first = torch.arange(dilation, device=q.device)[:, None, None, None]
    start = torch.arange(blocks, device=q.device)[:, None, None] * block
    query = start + torch.arange(block, device=q.device)[:, None]
    key = start - half + torch.arange(block + 2 * half, device=q.device)
    exists = (key >= 0) & (key * dilation + first < frames)
    # A row that sees nothing would be NaN.
    seen = ((query - key).abs() <= half) & (exists | (query * dilation + first >= frames))
    # (d, n, b, S + b + 2h)
    seen = torch.cat((seen.new_ones(1, 1, 1, 1).expand(dilation, blocks, block, sinks), seen), dim=3)
    out = attend(cut(q[:, :, sinks:]), stretches(k), stretches(v), seen)  # (B, H, d, n, b, E)
    out = out.permute(0, 1, 3, 4, 2, 5).flatten(2, 4)[:, :, :frames]
    return torch.cat((attend(q[:, :, :sinks], k, v), out), dim=2) if sinks else out


def attend(q: Tensor, k: Tensor, v: Tensor, seen: Tensor | None = None) -> Tensor:
    """Dense softmax attention over the last two axes, over the pairs ``seen``."""
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    if seen is not None:
        scores = scores.masked_fill(~seen, float("-inf"))
    return scores.softmax(-1) @ v

"""The STFT-free core of a model as ONNX: spectrum in, mask out, complex numbers as pairs, any length and batch.

ONNX has no complex numbers, and its runtimes have no windowed attention: the export takes the ``blocked`` backend, a
batch of small dense attentions, linear in time.
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
from wsa_lightning.attention.blocked import queries_in_a_block
from wsa_lightning.checkpoints.tensor_files import METADATA_KEY
from wsa_lightning.errors import UserError
from wsa_lightning.models import Roformer
from wsa_lightning.models.transformer import Attention

OPSET = 18
LARGEST = 2**31 - 2**20
"""Bytes of weights that fit one ONNX file: protobuf ends at 2 GiB."""


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
    """Silences what the exporter says about packages and deprecations that are not used here."""
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

    The capture needs more than one block of frames; the operators that it records are right for fewer as well.
    """
    config = model.config
    windowed = [pattern for pattern in config.patterns if pattern.window is not None]
    block = max((queries_in_a_block(pattern) * pattern.dilation for pattern in windowed), default=32)
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
                module.backend = "blocked"

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

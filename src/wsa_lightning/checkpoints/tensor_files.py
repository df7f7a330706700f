"""Bytes to tensors, and to tensors only: the kind of file, by its first bytes, and what is wrong with it."""

import json
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from wsa_lightning.errors import UserError, first_line

METADATA_KEY = "wsa_lightning"
NETWORK_PREFIX = "net."

_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"
_NO_MODEL = {
    b"version https://git-lfs": "is a Git LFS pointer, not the model: fetch it with `git lfs pull`",
    b"<": "is a web page, not the model: download the file itself",
    b"\x08": "may be an ONNX model: convert writes those, but does not read them",
}


def read(file: Path) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Tensors (or a wrapped public dict) mapped from a file, and its config if the file is ours.

    The tensors stay mapped: they take memory when they are first used, and the file must not be changed in place
    (replacing it is fine) while they exist.

    Raises:
        UserError: the file is empty, cut short, not a model, or holds more than tensors.
    """
    with file.open("rb") as stream:
        head = stream.read(64)
    if not head:
        raise UserError("is empty: expected a model")
    if head[8:9] == b"{":
        return _read_safetensors(file)
    if head.startswith((_ZIP, _PICKLE)):
        return _read_torch(file, mapped=_can_be_mapped(file))
    for magic, what in _NO_MODEL.items():
        if head.lstrip().startswith(magic):
            raise UserError(what)
    raise UserError(f"is not a model file: it begins with {head[:8]!r}; expected safetensors or a PyTorch checkpoint")


def check_tensors(state: Mapping[str, Any]) -> None:
    """Raise ``UserError`` for what is not a plain floating-point tensor, or has more numbers than the file holds."""
    for name, tensor in state.items():
        if not isinstance(tensor, Tensor) or tensor.layout != torch.strided:
            raise UserError(f"{name} is not a plain tensor: expected names to tensors")
        if not tensor.is_floating_point():
            raise UserError(f"{name} is {tensor.dtype}: expected floating point, quantised files are not supported")
        if not tensor.is_meta and tensor.untyped_storage().nbytes() < tensor.numel() * tensor.element_size():
            raise UserError(f"{name} claims the shape {tuple(tensor.shape)}, which the file does not hold")


def network_state(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The Roformer's tensors inside a LightningModule's state dict."""
    return {
        name.removeprefix(NETWORK_PREFIX): tensor
        for name, tensor in state_dict.items()
        if name.startswith(NETWORK_PREFIX)
    }


def _read_safetensors(file: Path) -> tuple[dict[str, Any], dict[str, Any] | None]:
    try:
        with safe_open(file, framework="pt") as tensors:
            metadata = tensors.metadata() or {}
            state: dict[str, Any] = {name: tensors.get_tensor(name) for name in tensors.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, RuntimeError) as error:
        raise UserError(
            f"is not a complete safetensors file ({first_line(error)}): download or write it again"
        ) from None
    if METADATA_KEY not in metadata:
        return state, None
    try:
        return state, dict(json.loads(metadata[METADATA_KEY])["config"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"has unreadable {METADATA_KEY} metadata ({first_line(error)})") from None


def _can_be_mapped(file: Path) -> bool:
    """Whether a PyTorch file is a zip of plain records; ``torch.load`` goes by the suffix of safetensors."""
    try:
        with zipfile.ZipFile(file) as archive:
            plain = all(record.compress_type == zipfile.ZIP_STORED for record in archive.infolist())
    except zipfile.BadZipFile:  # an old pickle, or cut short: the reader says which
        return False
    return plain and file.suffix != ".safetensors"


def _read_torch(file: Path, *, mapped: bool) -> tuple[dict[str, Any], dict[str, Any] | None]:
    try:
        with file.open("rb") as stream, torch.serialization.safe_globals(_numpy_scalars()):
            checkpoint = torch.load(file if mapped else stream, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"is refused: it holds more than tensors, or is not a checkpoint ({first_line(error)})"
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError, TypeError, IndexError) as error:
        raise UserError(f"is not a complete checkpoint ({first_line(error)}): download or write it again") from None
    if not isinstance(checkpoint, Mapping):
        raise UserError(f"holds {type(checkpoint).__name__}: expected a state dict")
    if METADATA_KEY not in checkpoint:
        return dict(checkpoint), None
    try:
        return network_state(checkpoint["state_dict"]), dict(checkpoint[METADATA_KEY]["config"])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError(f"has unreadable {METADATA_KEY} metadata ({first_line(error)})") from None


def _numpy_scalars() -> list[Any]:
    """NumPy's scalars: MSST stores its scores beside the weights as such. They are data and cannot run code."""
    scalar = np.float64(0).__reduce__()[0]
    kinds = {type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64)}
    return [
        (scalar, "numpy.core.multiarray.scalar"),
        (scalar, "numpy._core.multiarray.scalar"),
        np.dtype,
        *kinds,
    ]

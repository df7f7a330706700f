"""Model files: ours (safetensors with the config inside, Lightning checkpoints) and public ones, by content."""

import contextlib
import json
import os
import pickle
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from wsa_lightning.checkpoints.public import KEEP, from_public, load_exactly
from wsa_lightning.checkpoints.student import Keep, to_student
from wsa_lightning.errors import UserError
from wsa_lightning.models import Roformer, RoformerConfig

METADATA_KEY = "wsa_lightning"
NETWORK_PREFIX = "net."
ASSETS = Path(__file__).parent.parent / "assets"
SHIPPED = {"small-teacher": "small_teacher.safetensors", "small": "small_w16_s4.safetensors"}


def resolve_path(path: Path | str) -> Path:
    """The file behind a path or the name of a shipped model (``small``, ``small-teacher``)."""
    return ASSETS / SHIPPED[str(path)] if str(path) in SHIPPED else Path(path)


def load(
    path: Path | str,
    *,
    config: Path | str | Mapping[str, Any] | None = None,
    window: int | None | Literal[Keep.KEEP] = KEEP,
    sinks: int | Literal[Keep.KEEP] = KEEP,
) -> Roformer:
    """A Roformer in fp32 on the CPU, from any model file we know, recognised by its content.

    Args:
        path: our ``.safetensors`` or Lightning ``.ckpt``, a public checkpoint, or the name of a shipped model.
        config: for public files, the companion YAML (see ``from_public``).
        window: another time attention than the file's; None is full.
        sinks: another number of sinks than the file's.

    Raises:
        UserError: no such file, not a model, code in a pickle, tensors that do not fit.
    """
    file = resolve_path(path)
    if not file.is_file():
        what = "a folder" if file.is_dir() else "missing"
        raise UserError(f"{path} is {what}: expected a model file, or one of {', '.join(sorted(SHIPPED))}")
    try:
        content, own_config = _read(file)
        if own_config is None:
            return from_public(content, config=config, window=window, sinks=sinks).float()
        model = Roformer(RoformerConfig.from_dict(own_config))
        load_exactly(model, content)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return to_student(model, window=window, sinks=sinks)


def save(
    model: Roformer,
    path: Path | str,
    *,
    dtype: torch.dtype | None = None,
    notes: Mapping[str, str] | None = None,
) -> None:
    """Write a model to one safetensors file with its config inside, atomically.

    Args:
        model: what to save.
        path: the file; an existing one is replaced only when the new one is whole.
        dtype: store in this dtype (``torch.float16`` halves the file); None keeps the model's.
        notes: more metadata, e.g. the recipe and its score.
    """
    state = {
        name: tensor.detach().cpu().to(dtype or tensor.dtype).contiguous()
        for name, tensor in model.state_dict().items()
    }
    metadata = {METADATA_KEY: json.dumps({"config": model.config.to_dict()}), **(notes or {})}
    with _replacing(Path(path)) as temporary:
        save_file(state, temporary, metadata=metadata)


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path`` that becomes ``path`` on success and nothing on failure."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        yield Path(name)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)


def _read(file: Path) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Tensors (or a wrapped public dict) and, if the file is ours, its config."""
    try:
        with safe_open(file, framework="pt") as tensors:
            metadata = tensors.metadata() or {}
            state: dict[str, Any] = {name: tensors.get_tensor(name) for name in tensors.keys()}  # noqa: SIM118
        own = json.loads(metadata[METADATA_KEY])["config"] if METADATA_KEY in metadata else None
        return state, own
    except SafetensorError:
        pass  # not safetensors: a pickle, or nothing we know
    try:
        checkpoint = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(f"refused, it holds more than tensors, or is no checkpoint ({_first_line(error)})") from None
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        raise UserError(f"not a readable checkpoint ({_first_line(error)})") from None
    if not isinstance(checkpoint, Mapping):
        raise UserError(f"holds {type(checkpoint).__name__}: expected a state dict")
    if METADATA_KEY in checkpoint:
        return network_state(checkpoint["state_dict"]), checkpoint[METADATA_KEY]["config"]
    return dict(checkpoint), None


def network_state(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The Roformer's tensors inside a LightningModule's state dict."""
    return {
        name.removeprefix(NETWORK_PREFIX): tensor
        for name, tensor in state_dict.items()
        if name.startswith(NETWORK_PREFIX)
    }


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[0][:160]

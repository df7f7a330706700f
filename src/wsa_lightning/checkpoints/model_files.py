"""Model files in and out: ours (safetensors with the config inside, Lightning checkpoints) and public ones."""

import hashlib
import json
import logging
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from typing_extensions import Unpack

from wsa_lightning.atomic import replacing
from wsa_lightning.checkpoints.companion import Companion, companion_yaml, find_companion, read_companion
from wsa_lightning.checkpoints.filling import fill
from wsa_lightning.checkpoints.narrowing import to_student
from wsa_lightning.checkpoints.public import check_agreement, from_public, to_public
from wsa_lightning.checkpoints.tensor_files import METADATA_KEY, check_tensors, read
from wsa_lightning.errors import UserError, one_line
from wsa_lightning.models import PatternOptions, Roformer, RoformerConfig

logger = logging.getLogger(__name__)

ASSETS = Path(__file__).parent.parent / "assets"
SHIPPED = {"small-teacher": "small_teacher.safetensors", "small": "small_w16_s4.safetensors"}


def resolve_path(path: Path | str) -> Path:
    """The file behind a path or the name of a shipped model (``small``, ``small-teacher``)."""
    return ASSETS / SHIPPED[str(path)] if str(path) in SHIPPED else Path(path)


def file_hash(path: Path | str) -> str:
    """SHA-256, in hex, of the file behind a path or the name of a shipped model."""
    digest = hashlib.sha256()
    with resolve_path(path).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def load(path: Path | str, *, config: Companion | None = None, **pattern: Unpack[PatternOptions]) -> Roformer:
    """A Roformer in fp32 on the CPU, from any model file we know, recognised by its content.

    Tensors stay mapped from the file and take memory when they are first used: do not change the file in place
    while the model exists (replacing it, as every writer here does, is fine).

    Args:
        path: our ``.safetensors`` or Lightning ``.ckpt``, a public checkpoint, or the name of a shipped model.
        config: the YAML of a public file (see ``from_public``); None takes the one beside the file, if there is one.
        pattern: ``window``, ``sinks`` or ``dilation`` instead of the file's (see ``RoformerConfig.with_pattern``).

    Raises:
        UserError: no such file, not a model, code in a pickle, tensors that do not fit.
    """
    file = resolve_path(path)
    if not file.is_file():
        what = "a folder" if file.is_dir() else "missing"
        raise UserError(f"{path} is {what}: expected a model file, or one of {', '.join(sorted(SHIPPED))}")
    companion = config
    try:
        content, own_config = read(file)
        if own_config is not None:
            model = _our_model(content, own_config, config)
        else:
            companion = config if config is not None else find_companion(file)
            model = from_public(content, config=companion, share=True, **pattern)
            if companion is None:
                logger.warning(
                    "no YAML beside %s: assuming hop 441 and a zeroed DC bin; pass config= for other values", path
                )
        if any(parameter.is_meta for parameter in model.parameters()):
            raise UserError("holds tensors without their numbers: save the model from a device that has them")
    except (UserError, OSError) as error:
        beside = f" with {companion}" if isinstance(companion, (str, Path)) and str(companion) not in str(error) else ""
        raise UserError(f"{path}{beside}: {one_line(error)}") from None
    return to_student(model.float(), model.config.with_pattern(**pattern), share=True)


def _our_model(state: Mapping[str, Any], own_config: dict[str, Any], config: Companion | None) -> Roformer:
    """The model in one of our own files; a YAML that is passed must agree."""
    architecture = RoformerConfig.from_dict(own_config)
    check_agreement(read_companion(config), architecture.__dict__, "file's own config")
    check_tensors(state)
    return fill(architecture, state, share=True)


def is_resumable(path: Path) -> bool:
    """Whether a file is a Lightning checkpoint of this project; reads its index, and no tensor."""
    try:
        with zipfile.ZipFile(path) as archive:
            indices = [archive.read(name) for name in archive.namelist() if name.endswith("/data.pkl")]
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError):  # not a zip, or one that PyTorch did not write
        return False
    return any(b"pytorch-lightning_version" in index and METADATA_KEY.encode() in index for index in indices)


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
    with replacing(Path(path)) as temporary:
        save_file(state, temporary, metadata=metadata)


def save_public(model: Roformer, path: Path | str) -> Path:
    """Write a model in the public layout, and the YAML its public code is built from beside it.

    Args:
        model: a teacher or student.
        path: a ``.ckpt`` (or ``.pt``, ``.pth``, ``.th``, all the same: a bare state dict), or ``.safetensors``.

    Returns:
        The YAML's path: ``path`` with the suffix ``.yaml``. Both appear only when both are whole.
    """
    path = Path(path)
    companion = path.with_suffix(".yaml")
    state = {name: tensor.cpu().contiguous() for name, tensor in to_public(model).items()}
    with replacing(companion) as text, replacing(path) as tensors:
        text.write_text(companion_yaml(model.config), encoding="utf-8")
        if path.suffix == ".safetensors":
            save_file(state, tensors)
        else:
            torch.save(state, tensors)
    return companion

"""Public state dicts in and out: the layout of the released Mel-Band and BS Roformers and of the paper's student."""

import logging
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from typing_extensions import Unpack

from wsa_lightning.checkpoints.architecture import infer
from wsa_lightning.checkpoints.companion import Companion, read_companion
from wsa_lightning.checkpoints.difference import nearest_layout, shapes_of
from wsa_lightning.checkpoints.filling import fill
from wsa_lightning.checkpoints.narrowing import to_student
from wsa_lightning.checkpoints.public_names import is_rotary, ours_name, public_name
from wsa_lightning.checkpoints.tensor_files import check_tensors
from wsa_lightning.checkpoints.variants import refuse_variants
from wsa_lightning.errors import UserError
from wsa_lightning.models import PatternOptions, Roformer, RoformerConfig
from wsa_lightning.models.config import ATTENTION
from wsa_lightning.models.rotary import rotary_frequencies

logger = logging.getLogger(__name__)

WRAPPERS = ("state", "state_dict", "model_state_dict", "model")
PREFIXES = ("model.", "module.", "_orig_mod.")
DEEPEST = 8
"""Wrappers and prefixes opened at most: a pickled dict can contain itself."""
PAPER_WINDOW = 10


def from_public(
    state_dict: Mapping[str, Any],
    *,
    config: Companion | None = None,
    share: bool = False,
    **pattern: Unpack[PatternOptions],
) -> Roformer:
    """A Roformer from a public state dict, bare or wrapped; sizes are read off the tensors.

    Args:
        state_dict: names to tensors, as published (``golden/keys_*.json`` of the tests list three layouts).
        config: what tensors cannot say (hop, zero_dc, window, dilation): a companion YAML's path, its dict, or the dict
            of its ``model:`` section. Checked against the tensors.
        share: make the tensors themselves the model's parameters, dtype included, instead of copies in fp32.
        pattern: ``window``, ``sinks`` or ``dilation`` instead of the file's (see ``RoformerConfig.with_pattern``);
            another number of sinks starts with new ones (``to_student``).

    Raises:
        UserError: tensors missing, unexpected or of other shapes, a config that contradicts them, or a variant of
            the architecture that is not supported.
    """
    state = unwrap(state_dict)
    refuse_variants(state)
    check_tensors(state)
    stated = read_companion(config)
    inferred = infer(state, stated)
    stated.pop("num_stems", None)  # the stems' names say it
    check_agreement(stated, inferred)
    if inferred["sinks"] and "window" not in stated and "window" not in pattern:
        logger.warning("the file has sinks but no window: using %d frames, the paper's", PAPER_WINDOW)
        stated["window"] = PAPER_WINDOW
    architecture = RoformerConfig.from_dict({**stated, **inferred})
    ours, unexpected = _translate(state, architecture)
    try:
        model = fill(architecture, ours, unexpected=unexpected, share=share)
    except UserError as error:
        raise UserError(f"{error}; {nearest_layout(shapes_of(state))}") from None
    return to_student(model, architecture.with_pattern(**pattern), share=True)


def to_public(model: Roformer) -> dict[str, Tensor]:
    """The model's tensors under their public names, ``rotary_embed.freqs`` included.

    Raises:
        UserError: a time mixer other than attention, for which there is no public layout.
    """
    if model.config.time_mixer != ATTENTION:
        raise UserError(f"time_mixer is {model.config.time_mixer!r}: the public layout has attention alone")
    public = {public_name(name): tensor.detach() for name, tensor in model.state_dict().items()}
    frequencies = rotary_frequencies(model.config.dim_head)
    for name in [name for name in public if name.endswith(".to_qkv.weight")]:
        public[name.replace("to_qkv.weight", "rotary_embed.freqs")] = frequencies.clone()
    return public


def check_agreement(stated: Mapping[str, Any], found: Mapping[str, Any], source: str = "tensors") -> None:
    """Raise ``UserError`` where a companion YAML and ``source``, the file itself, differ; stems' names may."""
    contradictions = [
        f"{key}: the config says {stated[key]}, the {source} {value}"
        for key, value in found.items()
        if key in stated and key != "stems" and stated[key] != value
    ]
    if contradictions:
        raise UserError(f"config and {source} disagree: {'; '.join(contradictions)}. Pass the YAML of this file")


def unwrap(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors inside a published checkpoint: wrappers (``state``, ...) opened, prefixes (``module.``) cut."""
    state = {str(name): value for name, value in checkpoint.items()}
    for _ in range(DEEPEST):
        wrapped = next((state[name] for name in WRAPPERS if isinstance(state.get(name), Mapping)), None)
        prefix = next((prefix for prefix in PREFIXES if state and all(name.startswith(prefix) for name in state)), "")
        if wrapped is None and not prefix:
            break
        inner = state if wrapped is None else wrapped
        state = {str(name).removeprefix(prefix): value for name, value in inner.items()}
    strangers = [name for name, value in state.items() if not isinstance(value, Tensor)]
    if strangers or not state:
        raise UserError(f"not a state dict: expected names to tensors, found {strangers[:3] or 'nothing'}")
    return state


def _translate(state: Mapping[str, Tensor], config: RoformerConfig) -> tuple[dict[str, Tensor], list[str]]:
    """Our names to tensors, and the names that have none; the constant rotary frequencies are checked and left out."""
    frequencies = rotary_frequencies(config.dim_head)
    ours: dict[str, Tensor] = {}
    unexpected = []
    for name, tensor in state.items():
        if is_rotary(name):
            if tensor.shape != frequencies.shape or not (
                tensor.is_meta or torch.allclose(tensor.float().cpu(), frequencies, rtol=5e-3)
            ):
                raise UserError(f"{name} is not the constant 1/10000^(2i/dim_head): learned rotary is not supported")
        elif (own := ours_name(name)) is None:
            unexpected.append(name)
        else:
            ours[own] = tensor
    return ours, unexpected

"""Variants of the Roformers that this project does not support, recognised by the names of their parts.

Names are those of lucidrains' BS-RoFormer, of ZFTurbo's MSST (``models/bs_roformer``), and of the libraries both use
(hyper-connections, PoPE). A variant loaded as a plain Roformer would run and be wrong, so each is refused by name.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from wsa_lightning.errors import UserError

_BY_TENSOR = {
    # LinearAttention's temperature; its to_qkv and to_out are Sequentials.
    "linear attention": r"\.temperature$|\.to_qkv\.0\.weight$|\.to_out\.1\.weight$",
    "value residual": r"\.(to_value_residual_mix|learned_value_residual_mix)\.",
    "hyper-connections": r"\.(static|dynamic)_(alpha|beta)|\.(residual_scale|pre_branch_scale)$|\.branch\.",
    "conformer": r"\.conv\.net\.\d+\.|\.ff[12]\.ff\.net\.|\.out_norm\.gamma$",
    "PoPE": r"\.pope_embed\.",
    "LoRA": r"\.lora_[AB](\.|$)|\.lora_(down|up)\.",
}
_BY_YAML: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    "linear attention": lambda model: model.get("linear_transformer_depth"),
    "value residual": lambda model: model.get("add_value_residual"),
    "PoPE": lambda model: model.get("use_pope"),
    "skip connections": lambda model: model.get("skip_connection"),
    "a normalised STFT": lambda model: model.get("stft_normalized"),
    "a limited freq_range": lambda model: model.get("freq_range") not in (None, (-1, -1), [-1, -1]),
}


def refuse_variants(names: Iterable[str]) -> None:
    """Raise ``UserError`` with the variant's name if a tensor's name belongs to one."""
    names = sorted(names)
    for variant, pattern in _BY_TENSOR.items():
        if found := next((name for name in names if re.search(pattern, name)), None):
            raise UserError(_refusal(variant, f"tensor {found}"))


def refuse_stated_variants(model: Mapping[str, Any]) -> None:
    """The same for the ``model`` section of a YAML: skip connections, for example, have no tensors."""
    for variant, is_stated in _BY_YAML.items():
        if is_stated(model):
            raise UserError(_refusal(variant, "model section of the YAML"))


def _refusal(variant: str, witness: str) -> str:
    return f"a Roformer with {variant} ({witness}) is not supported: expected a plain Mel-Band or BS Roformer"

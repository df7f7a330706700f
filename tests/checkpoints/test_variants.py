"""Relatives of the Roformers are told by the names of their tensors or by their YAML, and refused by name."""

import pytest
import torch
from torch import Tensor

from tests.conftest import TINY
from wsa_lightning.checkpoints import from_public, to_public
from wsa_lightning.errors import UserError
from wsa_lightning.models import Roformer

# One tensor of each, as lucidrains' BS-RoFormer, MSST and their libraries name them.
TENSORS = {
    "linear attention": "layers.0.0.layers.0.0.temperature",
    "value residual": "layers.1.0.layers.0.0.to_value_residual_mix.weight",
    "hyper-connections": "layers.0.0.layers.0.0.static_alpha",
    "conformer": "layers.0.0.layers.0.conv.net.2.weight",
    "PoPE": "layers.0.0.layers.0.0.pope_embed.bias",
    "LoRA": "layers.0.0.layers.0.0.to_qkv.lora_A",
}
STATED = {
    "linear attention": {"linear_transformer_depth": 1},
    "value residual": {"add_value_residual": True},
    "PoPE": {"use_pope": True},
    "skip connections": {"skip_connection": True},
    "a normalised STFT": {"stft_normalized": True},
    "a limited freq_range": {"freq_range": [4, 512]},
}


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return to_public(Roformer(TINY))


@pytest.mark.parametrize("variant", TENSORS)
def test_a_variant_is_named_by_its_tensors(variant: str, state: dict[str, Tensor]) -> None:
    with pytest.raises(UserError, match=f"Roformer with {variant} .*not supported") as error:
        from_public({**state, TENSORS[variant]: torch.zeros(2)})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("variant", STATED)
def test_a_variant_is_named_by_its_yaml(variant: str, state: dict[str, Tensor]) -> None:
    with pytest.raises(UserError, match=f"Roformer with {variant} .*not supported"):
        from_public(state, config={"model": STATED[variant]})


def test_options_that_public_yamls_carry_switched_off_are_no_variant(state: dict[str, Tensor]) -> None:
    off = {"linear_transformer_depth": 0, "use_pope": False, "skip_connection": False, "stft_normalized": False,
           "freq_range": None, "sage_attention": True, "use_torch_checkpoint": True}  # fmt: skip
    from_public(state, config={"model": off})

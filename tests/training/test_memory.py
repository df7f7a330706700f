"""The memory line before training, and the message when memory runs out."""

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
import torch

from wsa_lightning.errors import UserError, is_out_of_memory
from wsa_lightning.losses import TERMS, Loss
from wsa_lightning.models import Roformer, RoformerConfig
from wsa_lightning.training.callbacks.memory import MIB, describe, estimate

SMALL = RoformerConfig(dim=32, depth=4, heads=2, dim_head=16, mask_hidden_layers=1, mlp_expansion_factor=1)
LOSS = Loss({"audio/l1": 1.0})


def estimated(batch_size: int = 1, samples: int = 22050, checkpointing: bool = False, **more: Any) -> dict[str, int]:
    options = {"teacher": None, "average": False, "context": contextlib.nullcontext, **more}
    return estimate(Roformer(SMALL, activation_checkpointing=checkpointing), LOSS, batch_size, samples, **options)


def test_weights_gradients_and_moments_are_counted_exactly() -> None:
    net = Roformer(SMALL)
    size = 4 * sum(parameter.numel() for parameter in net.parameters())
    found = estimated(teacher=net, average=True)
    del found["activations"]
    assert found == {"weights": size, "gradients": size, "optimizer": 2 * size, "average": size, "teacher": size}


def test_activations_grow_in_a_straight_line_with_batch_and_length() -> None:
    one, four, longer = (
        estimated()["activations"],
        estimated(batch_size=4)["activations"],
        estimated(samples=44100)["activations"],
    )
    assert four == pytest.approx(4 * one)
    assert longer == pytest.approx(2 * one, rel=0.2)


def test_any_loss_term_can_be_part_of_it() -> None:
    for name in TERMS:
        probed = estimate(
            Roformer(SMALL), Loss({name: 1.0}), 1, 22050, teacher=None, average=False, context=contextlib.nullcontext
        )
        assert probed["activations"] > 0, name


def test_what_is_estimated_is_what_autograd_keeps() -> None:
    kept: dict[int, Any] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor.untyped_storage()
        return tensor

    net, samples = Roformer(SMALL), 33075
    mixture = torch.randn(2, 2, samples)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = net(mixture).audio.abs().mean()
        size = sum(storage.nbytes() for storage in kept.values())
    loss.backward()
    assert estimated(2, samples)["activations"] == pytest.approx(size, rel=0.15)


def test_activation_checkpointing_and_bf16_make_it_smaller() -> None:
    plain = estimated()["activations"]
    assert estimated(checkpointing=True)["activations"] < 0.7 * plain
    assert estimated(context=lambda: torch.autocast("cpu", torch.bfloat16))["activations"] < 0.9 * plain


def test_the_line_names_every_part() -> None:
    needed = {"weights": 1, "gradients": 1, "optimizer": 2, "average": 0, "teacher": 3, "activations": 100}
    assert describe({name: value * MIB for name, value in needed.items()}) == (
        "about 107 MiB (weights 1, gradients 1, optimizer 2, teacher 3, activations 100)"
    )


@pytest.mark.parametrize("allocate", [lambda: torch.empty(1 << 58), lambda: bytearray(1 << 58)])
def test_a_real_failure_to_allocate_is_recognised(allocate: Callable[[], object]) -> None:
    with pytest.raises((RuntimeError, MemoryError)) as error:
        allocate()
    assert is_out_of_memory(error.value)


def test_other_errors_are_not_taken_for_it() -> None:
    assert not is_out_of_memory(RuntimeError("shapes do not match"))
    assert not is_out_of_memory(UserError("no songs"))

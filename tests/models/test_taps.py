"""What passes the taps is what the layers computed, and nothing stays behind."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from tests.conftest import TINY
from wsa_lightning.errors import UserError
from wsa_lightning.models import Roformer, transformer
from wsa_lightning.models.taps import TAPS, tapped

CONFIG = replace(TINY, depth=2, time_blocks=2)


def test_every_layer_and_every_time_attention_is_kept_without_sinks() -> None:
    student = Roformer(replace(CONFIG, window=4, sinks=3))
    with tapped(student, TAPS) as kept:
        student(torch.randn(2, 2, 4410))
    bands, frames = CONFIG.bands, CONFIG.frames(0.1)
    assert [tensor.shape for tensor in kept["hidden"]] == [(2, frames, bands, CONFIG.dim)] * 2
    assert [tensor.shape for tensor in kept["attention"]] == [(2 * bands, frames, CONFIG.dim)] * 4


def test_the_last_hidden_state_makes_the_mask() -> None:
    model = Roformer(CONFIG).eval()
    with torch.no_grad(), tapped(model, ["hidden"]) as kept:
        mask = model(torch.randn(1, 2, 4410)).mask
        gains = torch.stack([estimator(model.norm(kept["hidden"][-1])) for estimator in model.mask_estimators], dim=1)
        torch.testing.assert_close(model.band_merge(gains), mask)


def test_nothing_is_kept_once_the_context_is_closed() -> None:
    model = Roformer(CONFIG)
    with tapped(model, TAPS) as kept:
        model(torch.randn(1, 2, 2000))
    model(torch.randn(1, 2, 2000))
    assert [len(kept[name]) for name in TAPS] == [2, 4]


def test_gradients_flow_through_the_taps_with_activation_checkpointing_too() -> None:
    gradients = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        model = Roformer(CONFIG, activation_checkpointing=checkpointing)
        with tapped(model, TAPS) as kept:
            model(torch.ones(1, 2, 4410))
        sum(tensor.square().sum() for name in TAPS for tensor in kept[name]).backward()
        gradients.append(model.layers[0].time.blocks[0].attention.to_qkv.weight.grad)
    assert float(gradients[0].abs().sum()) > 0
    torch.testing.assert_close(*gradients)


def test_an_unknown_tap_is_refused() -> None:
    with pytest.raises(UserError, match="hidden, attention"), tapped(Roformer(TINY), ["mask"]):
        pass


@pytest.mark.parametrize("family", ["mel_band", "band_split"])
@pytest.mark.parametrize("without", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("numbers_at_a_time", [1, 3000, transformer.NUMBERS_AT_A_TIME])
def test_memory_used_again_without_gradients_changes_neither_what_was_kept_nor_the_mixture(
    family: Literal["mel_band", "band_split"],
    without: Callable[[], Any],
    numbers_at_a_time: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = Roformer(replace(CONFIG, family=family, window=4))
    mixture = torch.randn(2, 2, 4410)
    given = mixture.clone()
    with tapped(model, TAPS) as expected:
        audio, mask = model(mixture)
    monkeypatch.setattr(transformer, "NUMBERS_AT_A_TIME", numbers_at_a_time)
    with without(), tapped(model, TAPS) as kept:
        separated = model(mixture)
    torch.testing.assert_close((separated.audio, separated.mask), (audio, mask))
    for name in TAPS:
        torch.testing.assert_close(kept[name], expected[name])
    torch.testing.assert_close(mixture, given, rtol=0, atol=0)


@pytest.mark.parametrize("without", [torch.no_grad, torch.inference_mode])
def test_a_transformer_alone_leaves_its_input_and_what_its_blocks_were_given(without: Callable[[], Any]) -> None:
    model = Roformer(CONFIG).eval()
    x = torch.randn(3, 7, CONFIG.dim)
    given = x.clone()
    with without():
        model.layers[0].time(x)
        model.layers[0].time.blocks[0](x)
    torch.testing.assert_close(x, given, rtol=0, atol=0)


def test_a_block_in_a_reentrant_checkpoint_has_the_same_slopes() -> None:
    block = Roformer(CONFIG).layers[0].time.blocks[0]
    slopes = []
    for call in (block, lambda x: checkpoint(block, x, use_reentrant=True)):
        x = torch.ones(2, 5, CONFIG.dim).requires_grad_()
        call(x).square().sum().backward()
        slopes.append(x.grad)
    torch.testing.assert_close(*slopes)


def test_a_layer_leaves_its_input_alone_even_if_a_single_frame_makes_every_copy_a_view() -> None:
    model = Roformer(CONFIG).eval()
    x = torch.randn(1, 1, CONFIG.bands, CONFIG.dim)
    given = x.clone()
    with torch.no_grad():
        model.layers[0](x)
    torch.testing.assert_close(x, given, rtol=0, atol=0)

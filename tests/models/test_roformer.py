"""The Roformer beyond the golden numbers: windows, stems, checkpointing, precision, mel bands, positions."""

from dataclasses import replace
from typing import Any

import librosa
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import TINY
from wsa_lightning.errors import UserError
from wsa_lightning.models import Roformer, RoformerConfig, transformer
from wsa_lightning.models.bands import mel_band_bins
from wsa_lightning.models.rotary import Rotary

SAMPLES = 8820


def mixture(seed: int = 0, samples: int = SAMPLES) -> torch.Tensor:
    return 0.1 * torch.randn(1, 2, samples, generator=torch.Generator().manual_seed(seed))


@settings(deadline=None, max_examples=12)
@given(bands=st.integers(8, 64), rate=st.sampled_from([16000, 32000, 44100, 48000]))
def test_mel_bands_are_librosas(bands: int, rate: int) -> None:
    config = RoformerConfig(mel_bands=bands, sample_rate=rate)
    held = librosa.filters.mel(sr=rate, n_fft=2048, n_mels=bands) > 0
    held[0, 0] = held[-1, -1] = True
    assert mel_band_bins(config) == [np.flatnonzero(band).tolist() for band in held]


def test_a_window_of_twice_the_frames_is_full_attention() -> None:
    torch.manual_seed(0)
    full = Roformer(TINY)
    wide = Roformer(replace(TINY, window=2 * TINY.frames(SAMPLES / 44100)))
    wide.load_state_dict(full.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(wide(mixture()).audio, full(mixture()).audio)


@pytest.mark.parametrize("numbers", [1, 3000])
@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
@pytest.mark.parametrize("family", ["mel_band", "band_split"])
def test_without_gradients_the_parts_of_the_tokens_give_what_all_of_them_give(
    family: Any, numbers: int, dtype: torch.dtype | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    model = Roformer(replace(TINY, family=family, stems=("vocals", "drums"), window=4, sinks=2))
    two = mixture().repeat(2, 1, 1) * torch.tensor([1.0, 0.5])[:, None, None]
    seen: list[int] = []
    linear = model.layers[0].time.blocks[0].feed_forward[1]
    linear.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    with torch.autocast("cpu", dtype, enabled=dtype is not None):
        whole = model(two)
        monkeypatch.setattr(transformer, "NUMBERS_AT_A_TIME", numbers)
        with torch.no_grad():
            parts = model(two)
    assert len(seen) > 2
    torch.testing.assert_close(parts.mask, whole.mask, rtol=1e-5, atol=1e-5 if dtype is None else 1e-2)


def test_activation_checkpointing_changes_no_gradient() -> None:
    torch.manual_seed(0)
    plain = Roformer(replace(TINY, window=5, sinks=3))
    frugal = Roformer(plain.config, activation_checkpointing=True)
    frugal.load_state_dict(plain.state_dict())
    for model in (plain, frugal):
        model(mixture()).audio.square().sum().backward()
    for (name, one), other in zip(plain.named_parameters(), frugal.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, msg=name)


@pytest.mark.parametrize("family", ["mel_band", "band_split"])
def test_every_parameter_learns_and_several_stems_come_out(family: str) -> None:
    config = replace(TINY, family=family, stems=("vocals", "drums"), window=4, sinks=2)  # type: ignore[arg-type]
    model = Roformer(config)
    separated = model(mixture())
    assert separated.audio.shape == (1, 2, 2, SAMPLES)
    assert separated.mask.shape == (1, 2, 2, 1025, config.frames(SAMPLES / 44100))
    separated.audio.square().sum().backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_close_and_silence_finite(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model = Roformer(replace(TINY, window=6, sinks=2))
    with torch.no_grad():
        exact = model(mixture()).audio
        with torch.autocast("cpu", dtype=dtype):
            audio = model(mixture()).audio
            silent = model(torch.zeros(1, 2, SAMPLES)).audio
    assert (audio - exact).norm() <= 0.05 * exact.norm()
    assert torch.isfinite(silent).all()


def test_rotary_products_depend_on_the_distance_alone() -> None:
    rotary = Rotary(8)
    q, k = torch.randn(8), torch.randn(8)
    turned_q, turned_k = (rotary(x.expand(12, 1, 8))[:, 0] for x in (q, k))
    products = turned_q @ turned_k.T
    for distance in range(-5, 6):
        diagonal = products.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), rtol=1e-4, atol=1e-4)


def test_a_small_student_overfits_one_batch() -> None:
    torch.manual_seed(0)
    model = Roformer(replace(TINY, window=6, sinks=2))
    target = mixture(1)[:, None]
    audio = mixture(2) + target[:, 0]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(40):
        loss = (model(audio).audio - target).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    assert losses[-1] < 0.6 * losses[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"family": "bark"}, "bark"),
        ({"dim_head": 7}, "dim_head is 7"),
        ({"depth": 0}, "depth is 0"),
        ({"window": 0}, "window is 0"),
        ({"sinks": -1}, "sinks is -1"),
        ({"stems": ()}, "stems"),
        ({"family": "band_split", "band_widths": (3, 4)}, "7 bins"),
        ({"mel_bands": 500}, "fewer bands"),
    ],
)
def test_impossible_sizes_are_refused(change: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        Roformer(replace(TINY, **change))  # type: ignore[arg-type]


def test_a_config_survives_plain_data_and_refuses_unknown_keys() -> None:
    config = replace(TINY, window=7, sinks=1, stems=("drums", "bass"))
    assert RoformerConfig.from_dict(config.to_dict()) == config
    with pytest.raises(UserError, match="widnow"):
        RoformerConfig.from_dict({"widnow": 3})


def test_a_model_with_a_window_of_its_own_in_each_of_many_layers_compiles_all_of_them() -> None:
    windows = [2 * layer for layer in range(1, 11)]
    torch.manual_seed(0)
    model = Roformer(replace(TINY, depth=len(windows), window=windows, sinks=2), backend="blocked")
    song = mixture()
    plain = model(song).audio
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    model.compile_layers(backend="eager")
    with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True):
        torch.testing.assert_close(model(song).audio, plain, atol=1e-6, rtol=1e-5)
        with torch.no_grad():
            torch.testing.assert_close(model(song).audio, plain, atol=1e-5, rtol=1e-4)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] >= 2 * len(windows)

"""ONNX files compute the mask that the model computes, for any batch and length (extra ``onnx``)."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.conftest import TINY
from wsa_lightning.attention import Pattern
from wsa_lightning.attention.blocked import attend_by_blocks, blocked
from wsa_lightning.attention.reference import reference
from wsa_lightning.checkpoints import save, save_onnx
from wsa_lightning.checkpoints.onnx import Core
from wsa_lightning.commands.convert import convert
from wsa_lightning.errors import UserError
from wsa_lightning.models import Roformer, RoformerConfig

# Few bands: the graph has a node for every band, and capturing it is what takes the time.
SMALL = replace(TINY, n_fft=256, win_length=256, hop_length=64, mel_bands=4, band_widths=(9, 40, 80))
MODELS = {
    "a windowed student": replace(SMALL, window=10, sinks=3),
    "a student of two windows, one dilated": replace(SMALL, depth=2, window=[2, 6], dilation=[1, 4], sinks=2),
    "a band_split teacher of two stems": replace(SMALL, family="band_split", stems=("vocals", "other")),
}


def spectrum(config: RoformerConfig, batch: int, frames: int) -> Tensor:
    generator = torch.Generator().manual_seed(frames)
    return torch.randn(batch, config.channels, config.bins, frames, dtype=torch.complex64, generator=generator)


def mask_of(model: Roformer, complex_spectrum: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.view_as_real(model.estimate_mask(complex_spectrum))


@pytest.mark.parametrize("name", MODELS)
def test_onnxruntime_computes_the_models_mask_at_any_length_and_batch(name: str, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="pip install 'wsa-lightning[onnx]'")
    torch.manual_seed(0)
    config = MODELS[name]
    model = Roformer(config).eval()
    save(model, tmp_path / "model.safetensors")
    convert(str(tmp_path / "model.safetensors"), tmp_path / "core.onnx")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["core.onnx", "model.safetensors"]
    session = onnxruntime.InferenceSession(tmp_path / "core.onnx", providers=["CPUExecutionProvider"])
    stored = json.loads(session.get_modelmeta().custom_metadata_map["wsa_lightning"])
    assert RoformerConfig.from_dict(stored["config"]) == config
    for batch, frames in ((1, 1), (3, 5), (1, 32), (2, 33), (1, 130)):
        x = spectrum(config, batch, frames)
        (mask,) = session.run(["mask"], {"spectrum": torch.view_as_real(x).numpy()})
        expected = mask_of(model, x)
        assert mask.shape == expected.shape
        assert (torch.from_numpy(mask) - expected).norm() <= 1e-5 * expected.norm()


@pytest.mark.parametrize("window, dilation", [(None, 1), (1, 1), (6, 1), (70, 1), (6, 5)])
@pytest.mark.parametrize("sinks", [0, 3])
@pytest.mark.parametrize("frames", [1, 31, 64, 150, 500])
def test_the_exported_attention_is_the_oracle(window: int | None, dilation: int, sinks: int, frames: int) -> None:
    generator = torch.Generator().manual_seed(7)
    q, k, v = torch.randn(3, 2, 2, sinks + frames, 4, generator=generator)
    pattern = Pattern(window, sinks, dilation)
    exported = blocked if window is None else attend_by_blocks  # also where the window reaches every frame
    torch.testing.assert_close(exported(q, k, v, pattern), reference(q, k, v, pattern), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", ["mel_band", "band_split"])
def test_the_core_without_complex_numbers_is_the_model(family: str) -> None:
    torch.manual_seed(0)
    model = Roformer(replace(TINY, family=family, window=6, sinks=2, stems=("a", "b"))).eval()
    x = spectrum(model.config, 2, 50)
    with torch.no_grad():
        mask = Core(model)(torch.view_as_real(x))
    expected = mask_of(model, x)
    assert (mask - expected).norm() <= 1e-5 * expected.norm()


def test_without_the_extra_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("wsa_lightning.checkpoints.onnx.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'wsa-lightning\[onnx\]'"):
        save_onnx(Roformer(TINY), tmp_path / "core.onnx")


def test_weights_beyond_one_onnx_file_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with torch.device("meta"):
        model = Roformer(RoformerConfig(dim=768, depth=12))
    with pytest.raises(UserError, match="GiB"):
        save_onnx(model, tmp_path / "core.onnx")
    assert not list(tmp_path.iterdir())

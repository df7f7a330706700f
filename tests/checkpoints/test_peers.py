"""The packages people run open what we write and give our output; what they save, we open (extra ``parity``)."""

from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import yaml

from tests.checkpoints.test_model_files import assert_same
from wsa_lightning.checkpoints import from_public, load, save_public
from wsa_lightning.models import Roformer, RoformerConfig

BASE = RoformerConfig(dim=24, depth=2, heads=3, dim_head=8, mlp_expansion_factor=4, zero_dc=False)
PEERS: dict[str, RoformerConfig] = {
    "mel_band_roformer": replace(BASE, mask_hidden_layers=2),
    "bs_roformer": replace(BASE, family="band_split", mask_hidden_layers=1),
}
SHAPES = {
    "as published": {},
    "three stems in mono": {"stems": ("vocals", "drums", "other"), "channels": 1},
    "another STFT": {"hop_length": 512, "time_blocks": 2, "frequency_blocks": 3},
}


def peer(name: str) -> ModuleType:
    """The package, or a skip that says how to get it."""
    return pytest.importorskip(name, reason="pip install 'wsa-lightning[parity]'")


def open_with_the_peer(name: str, checkpoint: Path, companion: Path) -> torch.nn.Module:
    """As the peer's own command line opens a model: its YAML loader, its constructor, its ``load_state_dict``."""
    package, config_dict = peer(name), pytest.importorskip("ml_collections").ConfigDict
    inference = pytest.importorskip(f"{name}.inference")
    with companion.open() as file:
        config = config_dict(yaml.load(file, Loader=inference.SafeLoaderWithTuple))
    model: torch.nn.Module = package.get_model_from_config(name, config)
    model.load_state_dict(torch.load(checkpoint, map_location="cpu"))
    return model.eval()


@pytest.fixture(params=[(name, case) for name in PEERS for case in SHAPES], ids=lambda pair: "-".join(pair))
def written(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Roformer, Path, Path]:
    name, case = request.param
    changes: dict[str, Any] = SHAPES[case]
    torch.manual_seed(1)
    model = Roformer(replace(PEERS[name], **changes)).eval()
    return name, model, tmp_path / "public.ckpt", save_public(model, tmp_path / "public.ckpt")


def test_a_peer_opens_our_pair_of_files_and_gives_our_output(written: tuple[str, Roformer, Path, Path]) -> None:
    name, ours, checkpoint, companion = written
    theirs = open_with_the_peer(name, checkpoint, companion)
    samples = 40 * ours.config.hop_length  # a multiple of the hop: the peers return whole hops only
    mixture = 0.1 * torch.randn(2, ours.config.channels, samples)
    with torch.no_grad():
        expected = theirs(mixture).reshape(2, -1, ours.config.channels, samples)
        audio = ours(mixture).audio
    assert audio.shape == expected.shape
    assert (audio - expected).norm() <= 1e-4 * expected.norm()


def test_what_a_peer_saves_we_open_bit_for_bit(written: tuple[str, Roformer, Path, Path], tmp_path: Path) -> None:
    name, ours, checkpoint, companion = written
    theirs = open_with_the_peer(name, checkpoint, companion)
    (tmp_path / "saved").mkdir()
    torch.save({"model_state_dict": theirs.state_dict()}, tmp_path / "saved" / "best.ckpt")
    assert_same(load(tmp_path / "saved" / "best.ckpt", config=companion), ours)


@pytest.mark.parametrize("name", PEERS)
def test_a_model_made_by_a_peer_from_a_public_yaml_gives_its_output_here(name: str, tmp_path: Path) -> None:
    section = {
        "dim": 16, "depth": 1, "stereo": True, "num_stems": 1, "time_transformer_depth": 1,
        "freq_transformer_depth": 1, "dim_head": 8, "heads": 2, "stft_hop_length": 441, "mask_estimator_depth": 2,
    }  # fmt: skip
    config_dict = pytest.importorskip("ml_collections").ConfigDict
    torch.manual_seed(2)
    theirs = peer(name).get_model_from_config(name, config_dict({"model": section})).eval()
    ours = from_public(theirs.state_dict(), config={"model": {**section, "zero_dc": False}})
    mixture = 0.1 * torch.randn(1, 2, 441 * 30)
    with torch.no_grad():
        expected, audio = theirs(mixture), ours(mixture).audio[:, 0]
    assert (audio - expected.reshape_as(audio)).norm() <= 1e-4 * expected.norm()

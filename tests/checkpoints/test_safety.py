"""Files from strangers: tensors only, and one clear line for everything else."""

import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.conftest import TINY
from wsa_lightning.checkpoints import load, save, to_public
from wsa_lightning.errors import UserError
from wsa_lightning.models import Roformer

MODEL = Roformer(TINY)


class Payload:
    """Unpickled, it would create the file ``owned``."""

    def __init__(self, folder: Path) -> None:
        self.owned = folder / "owned"

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.owned,))


def cut(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: round(len(content) * share)])


def write_header(path: Path, header: dict[str, object], data: bytes = b"\0" * 64, length: int | None = None) -> None:
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)


def misstate_sizes(path: Path) -> None:
    """A checkpoint whose pickle claims a hundred million numbers where the record holds ten."""
    torch.save({"w": torch.arange(10).float()}, path)
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in records.items():
            if name.endswith("data.pkl"):
                assert b"K\n" in data
                data = data.replace(b"K\n", b"J" + struct.pack("<i", 100_000_000))
            archive.writestr(name, data)


def save_itself(path: Path) -> None:
    """A dict that is its own ``state``."""
    content: dict[str, object] = {}
    content["state"] = content
    torch.save(content, path)


OURS = {"wsa_lightning": {"config": TINY.to_dict()}}
OWN_STATE = {f"net.{name}": tensor for name, tensor in MODEL.state_dict().items()}
F32 = {"dtype": "F32", "shape": [4, 4], "data_offsets": [0, 64]}
SPOILED: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda path: path.write_bytes(b""), "is empty"),
    "noise": (lambda path: path.write_bytes(b"\xff" * 64), "is not a model file"),
    "a few bytes": (lambda path: path.write_bytes(b"noise"), "is not a model file"),
    "web page": (lambda path: path.write_bytes(b"\n<!DOCTYPE html><html>"), "web page"),
    "LFS pointer": (lambda path: path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n"), "git lfs pull"),
    "cut checkpoint": (lambda path: (torch.save(to_public(MODEL), path), cut(path, 0.7)), "not a complete checkpoint"),
    "cut safetensors": (lambda path: (save(MODEL, path), cut(path, 0.7)), "not a complete safetensors"),
    "header beyond the file": (lambda path: write_header(path, {"w": F32}, length=2**40), "not a complete safetensors"),
    "tensor beyond the file": (
        lambda path: write_header(path, {"w": {**F32, "shape": [2**20, 2**20], "data_offsets": [0, 2**42]}}),
        "not a complete safetensors",
    ),
    "shape unlike its bytes": (lambda path: write_header(path, {"w": {**F32, "shape": [99, 4]}}), "not a complete"),
    "sizes beyond the record": (misstate_sizes, "not a complete checkpoint"),
    "a number": (lambda path: torch.save(3, path), "int"),
    "no tensors": (lambda path: torch.save({"state_dict": {}}, path), "nothing"),
    "another network": (lambda path: torch.save(torch.nn.Linear(2, 2).state_dict(), path), "another architecture"),
    "whole numbers": (
        lambda path: torch.save({k: v.to(torch.int8) for k, v in to_public(MODEL).items()}, path),
        "floating point",
    ),
    "broadcast shapes": (
        lambda path: torch.save({**to_public(MODEL), "final_norm.gamma": torch.zeros(1).expand(2**40)}, path),
        "claims the shape",
    ),
    "numbered to a billion": (
        lambda path: torch.save({**to_public(MODEL), "layers.999999999.0.norm.gamma": torch.zeros(1)}, path),
        "more layers",
    ),
    "numbered beyond any number": (
        lambda path: torch.save({**to_public(MODEL), f"layers.{'9' * 5000}.0.norm.gamma": torch.zeros(1)}, path),
        "more layers",
    ),
    "wrapped in itself": (save_itself, "not a state dict"),
    "prefixed without end": (
        lambda path: torch.save({"model." * 2000 + name: tensor for name, tensor in to_public(MODEL).items()}, path),
        "no tensor",
    ),
    "sparse": (
        lambda path: torch.save({k: v.to_sparse() for k, v in to_public(MODEL).items()}, path),
        "not a plain tensor",
    ),
    "shapes without numbers": (
        lambda path: torch.save({k: v.to("meta") for k, v in to_public(MODEL).items()}, path),
        "without their numbers",
    ),
    "no axes": (lambda path: torch.save({k: torch.tensor(1.0) for k in to_public(MODEL)}, path), "have no axes"),
    "names that write on the terminal": (
        lambda path: torch.save({**to_public(MODEL), "evil\n\x1b[31m" + 9999 * "x": torch.zeros(1)}, path),
        "unexpected 1: evil",
    ),
    "ours with text for a tensor": (
        lambda path: torch.save({**OURS, "state_dict": {**OWN_STATE, "net.norm.gamma": "one"}}, path),
        "not a plain tensor",
    ),
    "ours in whole numbers": (
        lambda path: torch.save({**OURS, "state_dict": {k: v.to(torch.int8) for k, v in OWN_STATE.items()}}, path),
        "floating point",
    ),
    "our metadata nested too deep": (
        lambda path: save_file({"w": torch.zeros(1)}, path, metadata={"wsa_lightning": "[" * 100_000}),
        "metadata",
    ),
    "our metadata spoiled": (
        lambda path: save_file({"w": torch.zeros(1)}, path, metadata={"wsa_lightning": "{"}),
        "metadata",
    ),
    "our metadata without a config": (
        lambda path: save_file({"w": torch.zeros(1)}, path, metadata={"wsa_lightning": "{}"}),
        "metadata",
    ),
}


@pytest.mark.parametrize("case", SPOILED)
def test_a_spoiled_file_is_refused_in_one_line_that_names_it(case: str, tmp_path: Path) -> None:
    spoil, words = SPOILED[case]
    path = tmp_path / "model.ckpt"
    spoil(path)
    with pytest.raises(UserError, match=r"model\.ckpt: .*" + words) as error:
        load(path)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 1000


def test_a_compressed_zip_which_cannot_be_mapped_is_read_as_it_is(tmp_path: Path) -> None:
    torch.save(to_public(MODEL), tmp_path / "model.ckpt")
    with zipfile.ZipFile(tmp_path / "model.ckpt") as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(tmp_path / "model.ckpt", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in records.items():
            archive.writestr(name, data)
    loaded = load(tmp_path / "model.ckpt").state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in MODEL.state_dict().items())


@pytest.mark.parametrize("wrap", [lambda payload: payload, lambda payload: {"state_dict": payload}], ids=["bare", "in"])
@pytest.mark.parametrize("protocol", ["zip", "legacy", "plain pickle"])
def test_a_pickle_with_code_is_refused_and_nothing_of_it_runs(
    protocol: str, wrap: Callable[[object], object], tmp_path: Path
) -> None:
    path, content = tmp_path / "model.ckpt", wrap(Payload(tmp_path))
    if protocol == "plain pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=protocol == "zip")
    with pytest.raises(UserError, match=r"model\.ckpt: is refused"):
        load(path)
    assert not (tmp_path / "owned").exists()


YAMLS = {
    "python object": "model: !!python/object/apply:pathlib.Path.touch [OWNED]",
    "python name": "model: !!python/name:os.system",
    "python module": "model: {dim: !!python/module:os}",
    "python object in a tuple": "model: {a: !!python/tuple [!!python/object/apply:os.system ['touch OWNED']]}",
    "tuple of no sequence": "model: {a: !!python/tuple 3}",
    "not YAML": "model: [",
    "not a mapping": "- model",
    "nested too deep": "model: " + "[" * 20000,
    "no UTF-8": "model: \udcff",
    "text for a number": "model: {stft_hop_length: short}",
    "text for a list": "model: {freqs_per_bands: all}",
    "text for a truth": "model: {zero_dc: 'yes, please'}",
    "infinity for a number": "model: {stft_hop_length: .inf}",
    "no number for a number": "model: {stft_hop_length: .nan}",
    "a number beyond any": "audio: {sample_rate: 44100, chunk_size: 1" + 400 * "0" + "}",
    "a hop beyond the window": "model: {stft_hop_length: 5000}",
    "a list for a section": "model: [1]",
    "a list for a name": "training: {instruments: [a], target_instrument: [b]}",
    "a hop of nothing": "model: {stft_hop_length: 0}",
    "a date that is none": "model: {dim: !!timestamp yesterday}",
    "a number that is none": "model: {dim: !!int ''}",
    "a key that cannot be one": "model: {? !!python/tuple [[1]] : 1}",
    "an alias": "a: &a [16]\nmodel: {dim: *a}",
    "a range that is none": "model: {freq_range: 5}",
    "text for a depth": "model: {linear_transformer_depth: many}",
    "sizes of another model": "model: {dim: 384, depth: 6}",
}


@pytest.mark.parametrize("case", YAMLS)
def test_a_yaml_that_is_more_than_data_or_makes_no_sense_is_refused_by_name(case: str, tmp_path: Path) -> None:
    torch.save(to_public(MODEL), tmp_path / "model.ckpt")
    content = YAMLS[case].replace("OWNED", str(tmp_path / "owned"))
    (tmp_path / "config.yaml").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match=r"config\.yaml") as error:
        load(tmp_path / "model.ckpt", config=tmp_path / "config.yaml")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "owned").exists()

"""Files from strangers are refused with one line: nothing of them is run, nothing is written outside, memory stays.

Each reader is fuzzed with ``CASES`` inputs.
"""

import json
import pickle
import struct
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from tests.conftest import TINY, Run
from wsa_lightning.checkpoints import from_public, load
from wsa_lightning.checkpoints.companion import read_companion
from wsa_lightning.checkpoints.model_files import METADATA_KEY
from wsa_lightning.data.tracks import find_tracks, open_track
from wsa_lightning.errors import UserError
from wsa_lightning.models import RoformerConfig

CASES = 200
fuzz = settings(max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck))
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder that must not have grown a file ``owned`` at the end."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    assert not (tmp_path / "owned").exists()


class Payload:
    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path("owned"),))


CODE = (
    "!!python/object/apply:os.mkdir [owned]",
    "!!python/object/new:os.mkdir [owned]",
    "!!python/name:os.system ''",
    "!!python/module:os ''",
)


class TestYaml:
    @pytest.mark.parametrize("code", CODE)
    def test_python_tags_in_a_companion_are_refused(self, code: str, in_folder: Path) -> None:
        (in_folder / "evil.yaml").write_text(f"model:\n  dim: {code}\n")
        with pytest.raises(UserError, match=r"evil\.yaml"):
            read_companion(in_folder / "evil.yaml")

    def test_python_tags_in_a_configuration_are_refused(self, wsa: Run, tmp_path: Path) -> None:
        owned = tmp_path / "owned"
        (tmp_path / "evil.yaml").write_text(f"data:\n  seed: !!python/object/apply:os.mkdir [{owned}]\n")
        result = wsa("fit", "--config", "configs/wsa_w16_s4.yaml", "--config", tmp_path / "evil.yaml")
        assert result.returncode == 2
        assert "evil.yaml" in result.stderr or "python" in result.stderr
        assert not owned.exists()

    def test_aliases_that_grow_exponentially_are_refused(self, in_folder: Path) -> None:
        lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
        lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
        (in_folder / "laughs.yaml").write_text("\n".join([*lines, "model: {dim: *a29}"]))
        with pytest.raises(UserError):
            from_public({"x": torch.zeros(1)}, config=in_folder / "laughs.yaml")

    @fuzz
    @given(content=st.binary(max_size=200) | ANYTHING.map(lambda value: yaml.safe_dump(value).encode()))
    def test_any_bytes_are_a_companion_or_a_user_error(self, content: bytes, tmp_path: Path) -> None:
        (tmp_path / "any.yaml").write_bytes(content)
        try:
            assert isinstance(read_companion(tmp_path / "any.yaml"), dict)
        except UserError as error:
            assert "any.yaml" in str(error)

    @fuzz
    @given(
        st.sampled_from(
            ["dim", "num_bands", "freqs_per_bands", "stereo", "stft_n_fft", "wsa_window_len", "wsa_dilation"]
        ),
        ANYTHING,
    )
    def test_any_value_in_a_companion_is_used_or_a_user_error(self, key: str, value: object) -> None:
        with pytest.raises(UserError):
            from_public({"band_split.to_features.0.1.weight": torch.zeros(4, 4)}, config={"model": {key: value}})


class TestCheckpoints:
    def test_code_in_a_pickle_is_refused(self, in_folder: Path) -> None:
        torch.save({"state_dict": {"x": Payload()}}, in_folder / "zip.ckpt")
        (in_folder / "bare.ckpt").write_bytes(pickle.dumps(Payload(), protocol=2))
        torch.save(Payload(), in_folder / "legacy.ckpt", _use_new_zipfile_serialization=False)
        for name in ("zip.ckpt", "bare.ckpt", "legacy.ckpt"):
            with pytest.raises(UserError, match=name):
                load(in_folder / name)

    def test_a_tensor_larger_than_its_file_is_refused(self, tmp_path: Path) -> None:
        huge = torch.zeros(1).expand(1 << 45)
        torch.save({"band_split.to_features.0.1.weight": huge}, tmp_path / "huge.ckpt")
        with pytest.raises(UserError, match=r"huge\.ckpt"):
            load(tmp_path / "huge.ckpt")

    def test_a_stem_named_like_a_path_is_refused(self) -> None:
        for name in ("../../evil", "/etc/evil", "a/b", "a\\b", "..", "", ".hidden", "nul\0"):
            with pytest.raises(UserError, match="stem"):
                RoformerConfig(stems=(name,))

    @fuzz
    @given(key=st.sampled_from(sorted(TINY.to_dict())), value=ANYTHING | st.integers(10**6, 10**18))
    def test_any_config_inside_our_file_is_used_or_a_user_error(self, key: str, value: object, tmp_path: Path) -> None:
        config = {**TINY.to_dict(), key: value}
        metadata = {METADATA_KEY: json.dumps({"config": config})}
        save_file({"norm": torch.zeros(2)}, tmp_path / "any.safetensors", metadata=metadata)
        with pytest.raises(UserError, match=r"any\.safetensors"):
            load(tmp_path / "any.safetensors")

    @fuzz
    @given(header=st.binary(max_size=100) | ANYTHING.map(lambda value: json.dumps(value).encode()), tail=st.binary())
    def test_any_header_is_a_user_error(self, header: bytes, tail: bytes, tmp_path: Path) -> None:
        (tmp_path / "any.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + tail)
        with pytest.raises(UserError, match=r"any\.safetensors"):
            load(tmp_path / "any.safetensors")

    @fuzz
    @given(content=st.binary(max_size=300) | ANYTHING.map(pickle.dumps))
    def test_any_bytes_are_a_user_error(self, content: bytes, tmp_path: Path) -> None:
        (tmp_path / "any.ckpt").write_bytes(content)
        with pytest.raises(UserError, match=r"any\.ckpt"):
            load(tmp_path / "any.ckpt")


STEMS = ("mixture", "vocals", "drums", "bass", "other")


class TestAudio:
    @pytest.fixture
    def song(self, tmp_path: Path) -> Path:
        (tmp_path / "train" / "song").mkdir(parents=True)
        audio = np.random.default_rng(0).uniform(-0.5, 0.5, (400, 2))
        for stem in STEMS:
            soundfile.write(tmp_path / "train" / "song" / f"{stem}.wav", audio, 44100, subtype="PCM_16")
        return tmp_path / "train" / "song"

    @fuzz
    @given(changes=st.lists(st.tuples(st.integers(0, 43), st.integers(0, 255)), min_size=1, max_size=6), cut=st.data())
    def test_a_wav_with_any_header_is_read_or_a_user_error(
        self, changes: list[tuple[int, int]], cut: st.DataObject, song: Path
    ) -> None:
        content = bytearray((song / "vocals.wav").read_bytes())
        for place, value in changes:
            content[place] = value
        spoiled = bytes(content[: cut.draw(st.sampled_from([len(content), 30, 44, 1000]))])
        for stem in STEMS:
            (song / f"{stem}.wav").write_bytes(spoiled)
        tracemalloc.start()
        try:
            track = open_track(song)
            assert track.samples <= 44100
            audio = track.read("mixture", 0, track.samples)
            assert audio.shape == (2, track.samples)
            assert np.isfinite(audio).all()
        except UserError as error:
            assert str(song) in str(error)
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            for stem in STEMS:
                soundfile.write(song / f"{stem}.wav", np.zeros((400, 2)), 44100, subtype="PCM_16")
        assert peak < 10 << 20

    def test_a_header_that_promises_hours_is_refused(self, song: Path) -> None:
        for stem in STEMS:
            soundfile.write(song / "x.flac", np.zeros((400, 2)), 44100)
            flac = bytearray((song / "x.flac").read_bytes())
            flac[21] |= 0x0F  # the upper bits of STREAMINFO's 36-bit number of samples
            (song / f"{stem}.wav").write_bytes(flac)
        with pytest.raises(UserError, match="song"):
            open_track(song)

    @pytest.mark.parametrize("target", [".", "..", "loop"])
    def test_a_link_that_loops_does_not_hang(self, target: str, song: Path) -> None:
        (song.parent / "loop").symlink_to(target)
        with pytest.raises(UserError, match="loop"):
            find_tracks(song.parents[1], "train")


def test_any_name_of_a_setting_is_a_user_error() -> None:
    config: Any = {**TINY.to_dict(), "__class__": 1}
    with pytest.raises(UserError):
        RoformerConfig.from_dict(config)

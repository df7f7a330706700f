"""Models survive being written and read; what is no model is refused in one line."""

import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests import golden
from tests.conftest import TINY

from wsa_lightning.checkpoints import from_public, load, save, to_public, to_student
from wsa_lightning.errors import UserError
from wsa_lightning.models import Roformer


@pytest.fixture(scope="module")
def student() -> Roformer:
    torch.manual_seed(0)
    return Roformer(replace(TINY, window=6, sinks=2))


def assert_same(one: Roformer, other: Roformer) -> None:
    assert one.config == other.config
    for (name, left), right in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(left, right), name


def test_our_file_gives_the_model_back_bit_for_bit_without_a_config(student: Roformer, tmp_path: Path) -> None:
    save(student, tmp_path / "student.safetensors")
    assert_same(load(tmp_path / "student.safetensors"), student)
    assert [path.name for path in tmp_path.iterdir()] == ["student.safetensors"]


def test_a_half_precision_file_loads_in_fp32(student: Roformer, tmp_path: Path) -> None:
    save(student, tmp_path / "half.safetensors", dtype=torch.float16)
    loaded = load(tmp_path / "half.safetensors")
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    torch.testing.assert_close(loaded.state_dict(), student.state_dict(), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("wrapper", [None, "state", "state_dict", "model_state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "model.", "module."])
def test_public_files_are_opened_whatever_wraps_them(
    wrapper: str | None, prefix: str, student: Roformer, tmp_path: Path
) -> None:
    state = {prefix + name: tensor for name, tensor in to_public(student).items()}
    torch.save(state if wrapper is None else {wrapper: state}, tmp_path / "public.ckpt")
    assert_same(load(tmp_path / "public.ckpt", window=6), student)


def test_a_file_with_sinks_and_no_window_takes_the_papers_with_a_warning(
    student: Roformer, caplog: pytest.LogCaptureFixture
) -> None:
    assert from_public(to_public(student)).config.window == 10
    assert "10" in caplog.text


def test_a_companion_yaml_says_what_tensors_cannot(student: Roformer, tmp_path: Path) -> None:
    companion = tmp_path / "config.yaml"
    companion.write_text(
        "model:\n  wsa_window_len: 6\n  stft_hop_length: 512\n  freqs_per_bands: !!python/tuple [2, 2]\n"
    )
    loaded = from_public(to_public(student), config=companion)
    assert (loaded.config.window, loaded.config.hop_length) == (6, 512)


def test_a_companion_that_contradicts_the_tensors_is_refused(student: Roformer) -> None:
    with pytest.raises(UserError, match=r"dim: the config says 384, the tensors 16"):
        from_public(to_public(student), config={"model": {"dim": 384}})


def test_yaml_with_python_code_is_refused(student: Roformer, tmp_path: Path) -> None:
    companion = tmp_path / "config.yaml"
    companion.write_text(f"model: !!python/object/apply:pathlib.Path.touch [{tmp_path / 'owned'}]\n")
    with pytest.raises(UserError, match=r"config\.yaml"):
        from_public(to_public(student), config=companion)
    assert not (tmp_path / "owned").exists()


def test_missing_unexpected_and_misshapen_tensors_are_listed(student: Roformer) -> None:
    state = to_public(student)
    del state["band_split.to_features.7.1.bias"]
    state["stranger"] = torch.zeros(1)
    state["mask_estimators.0.to_freqs.3.0.0.bias"] = torch.zeros(3)
    with pytest.raises(UserError, match=r"missing 1: band_split.*unexpected 1: stranger.*other shape 1: mask"):
        from_public(state)


@pytest.mark.parametrize("content", [b"", b"noise", pickle.dumps(Path("code")), b"\xff" * 64])
def test_what_is_no_model_is_refused_by_name(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"model\.ckpt") as error:
        load(path)
    assert "\n" not in str(error.value)


def test_a_folder_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a folder"):
        load(tmp_path)
    with pytest.raises(UserError, match=r"missing.*small-teacher"):
        load(tmp_path / "nowhere.ckpt")


def test_a_student_keeps_the_teachers_weights_and_starts_its_sinks_near_the_mean_feature() -> None:
    teacher = from_public(golden.state_dict("melband_full"))
    student = to_student(teacher, window=16, sinks=4)
    ours, theirs = student.state_dict(), teacher.state_dict()
    assert ours.keys() - theirs.keys() == {"sinks"}
    assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())
    mean = teacher.band_split.mean_feature()
    assert (ours["sinks"] - mean).norm() < 0.3 * mean.norm() * 4**0.5
    assert not torch.equal(ours["sinks"][0], ours["sinks"][1])
    assert torch.equal(ours["sinks"], to_student(teacher, window=10, sinks=4).state_dict()["sinks"])


def test_full_attention_without_sinks_is_the_teacher_itself() -> None:
    teacher = from_public(golden.state_dict("melband_full"))
    assert to_student(teacher, window=None, sinks=0) is teacher

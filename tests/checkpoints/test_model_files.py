"""Models survive being written and read; what is no model is refused in one line."""

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from tests import golden
from tests.conftest import TINY
from wsa_lightning.checkpoints import from_public, load, save, save_public, to_public, to_student
from wsa_lightning.checkpoints.model_files import METADATA_KEY, is_resumable
from wsa_lightning.errors import UserError
from wsa_lightning.models import Roformer, RoformerConfig


@pytest.fixture(scope="module")
def student() -> Roformer:
    torch.manual_seed(0)
    return Roformer(replace(TINY, window=6, sinks=2))


def with_pattern(teacher: Roformer, **options: Any) -> Roformer:
    return to_student(teacher, teacher.config.with_pattern(**options))


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
@pytest.mark.parametrize("prefix", ["", "model.", "module.", "module._orig_mod."])
def test_public_files_are_opened_whatever_wraps_them(
    wrapper: str | None, prefix: str, student: Roformer, tmp_path: Path
) -> None:
    state = {prefix + name: tensor for name, tensor in to_public(student).items()}
    torch.save(state if wrapper is None else {wrapper: state}, tmp_path / "public.ckpt")
    assert_same(load(tmp_path / "public.ckpt", window=6), student)


@pytest.mark.parametrize("suffix", [".ckpt", ".pt", ".pth", ".th", ".safetensors", ".bin"])
@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors"])
def test_what_a_file_is_shows_in_its_content_not_its_suffix(
    suffix: str, form: str, student: Roformer, tmp_path: Path
) -> None:
    path, state = tmp_path / f"public{suffix}", to_public(student)
    if form == "safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=form == "zip")
    assert_same(load(path, window=6), student)


def test_a_training_checkpoint_with_numpy_scores_and_an_optimizer_opens(student: Roformer, tmp_path: Path) -> None:
    optimizer = torch.optim.Adam(student.parameters())
    scores = {"best_metric": np.float64(9.5), "all_metrics": {"sdr": [np.float32(1.0)]}, "epoch": np.int64(3)}
    torch.save(
        {**scores, "model_state_dict": to_public(student), "optimizer_state_dict": optimizer.state_dict()},
        tmp_path / "last.ckpt",
    )
    assert_same(load(tmp_path / "last.ckpt", window=6), student)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_public_files_of_other_precision_load_in_fp32(dtype: torch.dtype, student: Roformer, tmp_path: Path) -> None:
    torch.save({name: tensor.to(dtype) for name, tensor in to_public(student).items()}, tmp_path / "public.ckpt")
    loaded = load(tmp_path / "public.ckpt", window=6)
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    torch.testing.assert_close(loaded.state_dict(), student.state_dict(), atol=1e-2, rtol=1e-2)


def test_a_loaded_model_trains_and_leaves_the_file_alone(student: Roformer, tmp_path: Path) -> None:
    save(student, tmp_path / "student.safetensors")
    before = (tmp_path / "student.safetensors").read_bytes()
    loaded = load(tmp_path / "student.safetensors")
    loaded(0.1 * torch.randn(1, 2, 4410)).audio.square().sum().backward()
    torch.optim.SGD(loaded.parameters(), lr=1.0).step()
    assert not torch.equal(loaded.sinks, student.sinks)
    assert (tmp_path / "student.safetensors").read_bytes() == before


def test_a_model_from_a_state_dict_does_not_share_its_tensors(student: Roformer) -> None:
    state = to_public(student)
    with torch.no_grad():
        from_public(state, window=6).sinks.zero_()
    assert student.sinks.abs().sum() > 0


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


def test_windows_of_their_own_survive_every_format_and_a_change_of_them_keeps_the_weights(tmp_path: Path) -> None:
    torch.manual_seed(0)
    deep = Roformer(replace(TINY, depth=2, window=[6, None], sinks=2))
    save(deep, tmp_path / "deep.safetensors")
    assert_same(load(tmp_path / "deep.safetensors"), deep)
    companion = save_public(deep, tmp_path / "deep.ckpt")
    assert "wsa_window_len:\n  - 6\n  - null\n" in companion.read_text()
    assert_same(load(tmp_path / "deep.ckpt"), deep)
    companion.write_text(companion.read_text().replace("- null", "- 6"))
    assert load(tmp_path / "deep.ckpt").config.window == 6, "a list of one width is that width"
    assert load(tmp_path / "deep.safetensors", window=[4, 12]).config.window == (4, 12)
    assert_same(with_pattern(with_pattern(deep, window=[4, 12]), window=[6, None]), deep)


def test_a_dilation_survives_every_format_and_goes_with_the_window(tmp_path: Path) -> None:
    torch.manual_seed(0)
    dilated = Roformer(replace(TINY, depth=2, window=[4, 16], dilation=[1, 8], sinks=2))
    save(dilated, tmp_path / "dilated.safetensors")
    assert_same(load(tmp_path / "dilated.safetensors"), dilated)
    companion = save_public(dilated, tmp_path / "dilated.ckpt")
    assert "wsa_dilation:\n  - 1\n  - 8\n" in companion.read_text()
    assert_same(load(tmp_path / "dilated.ckpt"), dilated)
    assert load(tmp_path / "dilated.safetensors", window=10).config.dilation == (1, 8)
    assert load(tmp_path / "dilated.safetensors", dilation=4).config.dilation == 4
    assert load(tmp_path / "dilated.safetensors", window=[4, None]).config.dilation == 1
    assert load(tmp_path / "dilated.ckpt", window=None).config.dilation == 1, "full attention skips no frame"


def test_a_file_of_before_dilations_has_a_plain_window(student: Roformer, tmp_path: Path) -> None:
    config = {key: value for key, value in student.config.to_dict().items() if key != "dilation"}
    metadata = {METADATA_KEY: json.dumps({"version": 1, "config": config})}
    save_file(dict(student.state_dict()), tmp_path / "old.safetensors", metadata)
    assert_same(load(tmp_path / "old.safetensors"), student)


@pytest.mark.parametrize("name", ["public.yaml", "public.yml", "config_vocals.yaml"])
def test_the_yaml_beside_a_file_is_found(name: str, student: Roformer, tmp_path: Path) -> None:
    torch.save(to_public(student), tmp_path / "public.ckpt")
    (tmp_path / name).write_text("model: {wsa_window_len: 6, stft_hop_length: 512}")
    assert load(tmp_path / "public.ckpt").config.hop_length == 512
    (tmp_path / "named.yaml").write_text("model: {wsa_window_len: 8}")
    assert load(tmp_path / "public.ckpt", config=tmp_path / "named.yaml").config.window == 8


def test_a_yaml_that_may_belong_to_another_model_is_not_taken(student: Roformer, tmp_path: Path) -> None:
    torch.save(to_public(student), tmp_path / "public.ckpt")
    (tmp_path / "config.yaml").write_text("model: {wsa_window_len: 6, stft_hop_length: 512}")
    (tmp_path / "other.ckpt").touch()
    assert load(tmp_path / "public.ckpt", window=6).config.hop_length == 441


def test_a_public_file_without_a_yaml_says_what_it_takes_for_granted(
    student: Roformer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.save(to_public(student), tmp_path / "public.ckpt")
    load(tmp_path / "public.ckpt", window=6)
    assert "hop 441" in caplog.text
    caplog.clear()
    load(tmp_path / "public.ckpt", config={"wsa_window_len": 6})
    assert not caplog.text


def test_a_whole_model_section_leaves_out_what_the_public_constructor_takes(student: Roformer) -> None:
    section = {"dim": 16, "depth": 1, "wsa_window_len": 6}
    assert from_public(to_public(student), config=section).config.hop_length == 512
    assert from_public(to_public(student), config={"wsa_window_len": 6}).config.hop_length == 441


def test_rate_and_stems_come_from_the_sections_that_name_them(tmp_path: Path) -> None:
    model = Roformer(replace(TINY, family="band_split", stems=("a", "b"), sample_rate=48000))
    config = {"audio": {"sample_rate": 48000}, "model": {"dim": 16}, "training": {"instruments": ["drums", "bass"]}}
    loaded = from_public(to_public(model), config=config).config
    assert (loaded.sample_rate, loaded.stems) == (48000, ("drums", "bass"))


def test_stft_rate_and_channels_are_read_off_the_tensors() -> None:
    for config in (
        replace(TINY, n_fft=4096, win_length=4096, channels=1),
        replace(TINY, sample_rate=48000),
        replace(TINY, family="band_split", n_fft=1024, win_length=1024, band_widths=(13, 500), channels=1),
    ):
        assert from_public(to_public(Roformer(config))).config == config


def test_a_yaml_for_another_number_of_stems_is_refused(student: Roformer) -> None:
    with pytest.raises(UserError, match="num_stems: the config says 4, the tensors 1"):
        from_public(to_public(student), config={"num_stems": 4})


def test_our_own_file_refuses_a_yaml_that_contradicts_it(student: Roformer, tmp_path: Path) -> None:
    save(student, tmp_path / "student.safetensors")
    assert_same(load(tmp_path / "student.safetensors", config={"stft_hop_length": 441}), student)
    with pytest.raises(UserError, match="hop_length: the config says 512, the file's own config 441"):
        load(tmp_path / "student.safetensors", config={"stft_hop_length": 512})


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
    with pytest.raises(UserError, match=r"missing 1: band_split.*unexpected 1: stranger.*other shape 1: mask") as error:
        from_public(state)
    assert "nearest known layout: Mel-Band RoFormer with window 10 and 8 sinks" in str(error.value)


def test_a_file_without_a_tensor_that_sizes_are_read_off_names_it_and_the_nearest_layout() -> None:
    state = {key: torch.empty(shape) for key, shape in golden.recipe("bs_full")["parameters"].items()}
    del state["layers.0.0.layers.0.0.to_gates.weight"]
    with pytest.raises(UserError, match=r"no tensor 'layers\.0\.0\..*to_gates\.weight'.*nearest.*: BS-RoFormer"):
        from_public(state)


WIDTHS = st.sampled_from([(9, 20, 100), (64, 64, 1), (2, 2, 25, 50, 50)])


@st.composite
def configs(draw: st.DrawFn) -> RoformerConfig:
    """Small Roformers of both families, teachers and students."""
    small = st.integers(1, 2)
    return RoformerConfig(
        family=draw(st.sampled_from(["mel_band", "band_split"])),
        dim=draw(st.sampled_from([4, 6])), depth=draw(small), heads=draw(small), dim_head=draw(st.sampled_from([2, 8])),
        time_blocks=draw(small), frequency_blocks=draw(small), ff_mult=draw(small), mask_hidden_layers=draw(small),
        mlp_expansion_factor=draw(small), stems=draw(st.sampled_from([("vocals",), ("drums", "bass", "other")])),
        mel_bands=draw(st.integers(3, 5)), band_widths=draw(WIDTHS), channels=draw(small), n_fft=256,
        win_length=draw(st.sampled_from([256, 200])), hop_length=draw(st.sampled_from([64, 100])),
        sample_rate=draw(st.sampled_from([44100, 16000])), zero_dc=draw(st.booleans()),
        window=(window := draw(st.sampled_from([None, 1, 10]))), sinks=draw(st.integers(0, 2)),
        dilation=1 if window is None else draw(st.sampled_from([1, 4])),
    )  # fmt: skip


def public_part(config: RoformerConfig) -> RoformerConfig:
    """The config without the other family's bands, which a public pair does not tell."""
    unused = "band_widths" if config.family == "mel_band" else "mel_bands"
    return replace(config, **{unused: getattr(RoformerConfig(), unused)})


@settings(max_examples=25, deadline=None)
@given(config=configs())
def test_every_format_gives_every_model_back_bit_for_bit(config: RoformerConfig) -> None:
    model = Roformer(public_part(config))
    with tempfile.TemporaryDirectory() as folder:
        save(model, Path(folder) / "ours.safetensors")
        assert_same(load(Path(folder) / "ours.safetensors"), model)
        for name in ("public.ckpt", "public.safetensors"):
            companion = save_public(model, Path(folder) / name)
            assert_same(load(Path(folder) / name), model)
            loaded = from_public(to_public(model), config=companion)
            assert_same(loaded, model)
            assert to_public(loaded).keys() == to_public(model).keys()


def test_a_folder_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a folder"):
        load(tmp_path)
    with pytest.raises(UserError, match=r"missing.*small-teacher"):
        load(tmp_path / "nowhere.ckpt")


def test_a_student_keeps_the_teachers_weights_and_starts_its_sinks_near_the_mean_feature() -> None:
    teacher = from_public(golden.state_dict("melband_full"))
    student = with_pattern(teacher, window=16, sinks=4)
    ours, theirs = student.state_dict(), teacher.state_dict()
    assert ours.keys() - theirs.keys() == {"sinks"}
    assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())
    mean = teacher.band_split.mean_feature()
    assert (ours["sinks"] - mean).norm() < 0.3 * mean.norm() * 4**0.5
    assert not torch.equal(ours["sinks"][0], ours["sinks"][1])
    assert torch.equal(ours["sinks"], with_pattern(teacher, window=10, sinks=4).state_dict()["sinks"])


def test_full_attention_without_sinks_is_the_teacher_itself() -> None:
    teacher = from_public(golden.state_dict("melband_full"))
    assert with_pattern(teacher, window=None, sinks=0) is teacher


def test_a_student_of_another_architecture_is_refused_by_the_name_of_what_differs() -> None:
    teacher = Roformer(TINY)
    with pytest.raises(UserError, match="student and teacher differ in depth, stems: expected the teacher's arch"):
        to_student(teacher, replace(TINY, window=6, sinks=1, depth=2, stems=("vocals", "other")))


def test_a_checkpoint_to_resume_from_is_told_from_a_model_by_its_content(tmp_path: Path) -> None:
    save(Roformer(TINY), tmp_path / "ours.safetensors")
    torch.save({"state": {"w": torch.zeros(3)}}, tmp_path / "public.ckpt")
    torch.save({"pytorch-lightning_version": "2.6", "state_dict": {}}, tmp_path / "of another project.ckpt")
    torch.save({"pytorch-lightning_version": "2.6", METADATA_KEY: {}, "state_dict": {}}, tmp_path / "run.ckpt")
    (tmp_path / "noise.ckpt").write_bytes(b"not a checkpoint")
    assert [path.name for path in sorted(tmp_path.iterdir()) if is_resumable(path)] == ["run.ckpt"]

"""Bad input ends in one line that names the file or key and the remedy, with exit status 2."""

import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
import soundfile
import torch

from tests.conftest import Run

Spoil = Callable[[Path], object]


def song(root: Path) -> Path:
    return min((root / "train").iterdir())


def rewrite(path: Path, change: Callable[[np.ndarray], np.ndarray], rate: int = 44100) -> None:
    audio, _ = soundfile.read(path, dtype="float32")
    soundfile.write(path, change(audio), rate, subtype="FLOAT")


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5000])


def not_a_number(audio: np.ndarray) -> np.ndarray:
    return np.full_like(audio, np.nan)


SPOILED_TREES: dict[str, tuple[Spoil, str]] = {
    "missing root": (lambda root: shutil.rmtree(root), "songs"),
    "empty root": (lambda root: [shutil.rmtree(path) for path in root.iterdir() if path.is_dir()], "train"),
    "missing stem": (lambda root: (song(root) / "bass.wav").unlink(), "bass"),
    "another length": (lambda root: rewrite(song(root) / "bass.wav", lambda audio: audio[:-7]), "bass.wav"),
    "another rate": (lambda root: rewrite(song(root) / "bass.wav", lambda audio: audio, rate=48000), "48000"),
    "truncated": (lambda root: truncate(song(root) / "bass.wav"), "bass.wav"),
    "not finite": (
        lambda root: [rewrite(folder / "bass.wav", not_a_number) for folder in (root / "train").iterdir()],
        "bass.wav",
    ),
}


def assert_named(result: CompletedProcess[str], *words: str) -> None:
    assert result.returncode == 2, result.stderr
    message = result.stderr[result.stderr.index("error: ") :]
    for word in words:
        assert word in message
    assert "Traceback" not in result.stderr
    assert message.count("\n") == 1, message


def fit(wsa: Run, root: Path, teacher: Path, folder: Path, *more: object) -> CompletedProcess[str]:
    return wsa(
        "fit", "--config", "configs/wsa_w16_s4.yaml", "--config", "configs/scale/tiny.yaml", "--data.root", root,
        "--distillation.teacher", teacher, "--trainer.default_root_dir", folder, *more,
    )  # fmt: skip


@pytest.mark.parametrize("case", SPOILED_TREES)
def test_a_spoiled_dataset_is_named(case: str, wsa: Run, songs: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    spoil, word = SPOILED_TREES[case]
    root = shutil.copytree(songs, tmp_path / "songs")
    spoil(root)
    assert_named(fit(wsa, root, tiny_teacher, tmp_path / "run"), word)
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_a_chunk_longer_than_every_song_names_the_option(
    wsa: Run, songs: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    assert_named(
        fit(wsa, songs, tiny_teacher, tmp_path / "run", "--data.chunk_seconds", 60), "chunk_seconds", "60.00 s"
    )


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--model.windw", "3", ("windw",)),
        ("--model.window", "0", ("window is 0",)),
        ("--model.dilation", "0", ("dilation is 0", "expected at least 1")),
        ("--model.dilation", "[1, 8]", ("dilation is [1, 8], 2 numbers", "expected 1, one a layer")),
        ("--model.window", "[4, 8]", ("window is [4, 8], 2 windows", "expected 1, one a layer")),
        ("--model.backend", "magic", ("magic", "blocked")),
        ("--model.loss", "{audio/l9: 1.0}", ("audio/l9", "audio/l1")),
        ("--data.stems", "[vocals, kazoo]", ("kazoo",)),
        ("--data.stems", "[drums]", ("data.stems", "drums", "vocals")),
        ("--distillation.teacher", "nowhere.ckpt", ("nowhere.ckpt", "small-teacher")),
        ("--distillation.teacher", "null", ("--distillation.teacher",)),
        ("--data.batch_size", "0", ("batch_size",)),
    ],
)
def test_a_bad_option_is_named(
    option: str, value: str, words: tuple[str, ...], wsa: Run, songs: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    assert_named(fit(wsa, songs, tiny_teacher, tmp_path / "run", option, value), *words)


def test_an_unknown_key_in_a_config_file_is_named(wsa: Run, songs: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("data:\n  chunk_secnds: 1.0\n")
    result = fit(wsa, songs, tiny_teacher, tmp_path / "run", "--config", tmp_path / "mine.yaml")
    assert_named(result, "chunk_secnds")


def test_a_teacher_that_does_not_fit_or_is_not_a_model_is_named(wsa: Run, songs: Path, tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "owned",))

    from tests import golden

    state = golden.state_dict("melband_full")
    del state["layers.1.1.layers.0.0.to_qkv.weight"]
    torch.save(state, tmp_path / "incomplete.ckpt")
    torch.save({"state_dict": Payload()}, tmp_path / "code.ckpt")
    (tmp_path / "noise.ckpt").write_bytes(b"not a checkpoint")
    for name, words in (
        ("incomplete.ckpt", ("missing 1", "to_qkv")),
        ("code.ckpt", ("refused",)),
        ("noise.ckpt", ("noise.ckpt",)),
    ):
        assert_named(fit(wsa, songs, tmp_path / name, tmp_path / "run"), name, *words)
    assert not (tmp_path / "owned").exists()

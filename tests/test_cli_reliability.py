"""The command line where the surroundings are hostile: nothing writable but the cache, no memory, a doctor's round."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, Run
from wsa_lightning import machine
from wsa_lightning.data import embedded
from wsa_lightning.errors import UserError

TINY_FIT = ("fit", "--config", "configs/wsa_w16_s4.yaml", "--config", "configs/scale/tiny.yaml")


def contents(root: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in root.rglob("*")}


def test_a_home_that_cannot_be_written_and_a_dataset_that_is_only_read_are_enough(
    songs: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    before = contents(songs)
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("XDG_", machine.CACHE_VARIABLE))
    }
    # Even root cannot make a file in /proc.
    environment |= {"HOME": "/proc/nobody", "TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    command = (
        *TINY_FIT, "--data.root", songs, "--data.cache", tmp_path / "cache", "--distillation.teacher", tiny_teacher,
        "--trainer.default_root_dir", tmp_path / "run", "--data.chunk_seconds", 0.25,
    )  # fmt: skip
    result = subprocess.run(
        [sys.executable, "-m", "wsa_lightning", *map(str, command)],
        cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "run" / "model.safetensors").is_file()
    assert contents(songs) == before
    assert "memory: about" in result.stderr


def test_embedded_songs_without_a_writable_home_are_refused_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(machine.CACHE_VARIABLE, raising=False)
    monkeypatch.setattr(machine.platformdirs, "user_cache_dir", lambda name: f"/proc/nobody/{name}")
    with pytest.raises(UserError, match=machine.CACHE_VARIABLE):
        embedded.embedded_root()
    monkeypatch.setattr(embedded, "make_tracks", lambda root, **_: root.mkdir(parents=True))
    assert embedded.embedded_root(tmp_path / "cache").parent == tmp_path / "cache"


def test_a_step_that_memory_does_not_hold_is_one_line_with_three_settings(
    wsa: Run, songs: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    famine = {"class_path": "tests.reliability.saboteur.Famine", "init_args": {"mib": 400}}
    result = wsa(
        *TINY_FIT, "--data.root", songs, "--distillation.teacher", tiny_teacher, "--trainer.default_root_dir", tmp_path,
        "--trainer.logger", "false", "--data.batch_size", 64, "--trainer.callbacks", json.dumps([famine]),
    )  # fmt: skip
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    for words in ("out of memory", "data.batch_size", "model.activation_checkpointing", "trainer.precision bf16-mixed"):
        assert words in line
    assert not (tmp_path / "model.safetensors").exists()


@pytest.mark.timeout(600)
def test_the_doctor_finds_this_machine_well_and_a_broken_dataset_ill(wsa: Run, songs: Path, tmp_path: Path) -> None:
    root = shutil.copytree(songs, tmp_path / "songs")
    (min((root / "test").iterdir()) / "bass.wav").unlink()
    result = wsa("doctor", "--root", root, timeout=500)
    assert result.returncode == 1, result.stderr
    lines = {line.split()[1]: line for line in result.stdout.splitlines()[:-1]}
    assert [name for name, line in lines.items() if line.startswith("BROKEN")] == ["dataset"]
    assert "bass.wav missing" in lines["dataset"]
    assert "bit for bit the same weights" in lines["resume"]
    assert "1 of " in result.stdout.splitlines()[-1]

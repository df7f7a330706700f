"""A checkpoint is on the disk whole or not at all, and a broken one is noticed."""

import logging
import multiprocessing
import os
import pickle
import resource
import signal
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wsa_lightning.errors import UserError
from wsa_lightning.reliability.checkpoint_io import AtomicCheckpointIO, previous, verify

CASES = 200


def save(path: Path, step: int) -> None:
    AtomicCheckpointIO().save_checkpoint({"step": step, "weights": torch.full((1000,), float(step))}, path)


def load(path: Path) -> int:
    return int(AtomicCheckpointIO().load_checkpoint(path)["step"])


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-700])


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, lambda path: path.write_bytes(b""), Path.unlink])
def test_a_broken_newest_checkpoint_falls_back_to_the_one_before_and_says_so(
    damage: Callable[[Path], object], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "last.ckpt"
    for step in (1, 2, 3):
        save(path, step)
    assert load(path) == 3
    damage(path)
    with caplog.at_level(logging.WARNING):
        assert load(path) == 2
    assert "last.previous.ckpt" in caplog.text


def test_two_broken_checkpoints_are_an_error_that_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    for step in (1, 2):
        save(path, step)
    truncate(path)
    truncate(previous(path))
    with pytest.raises(UserError, match=r"last\.previous\.ckpt"):
        load(path)


def in_a_process(work: Callable[[], None]) -> int:
    """Run ``work`` in a forked process: its exit status, negative for a signal."""
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join(60)
    assert process.exitcode is not None
    return process.exitcode


def test_a_process_killed_while_it_writes_leaves_the_checkpoint_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "last.ckpt", 1)
    write = torch.save

    def killed(content: object, file: Any) -> None:
        write(content, file)
        file.truncate(file.tell() // 2)
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(torch, "save", killed)
    assert in_a_process(lambda: save(tmp_path / "last.ckpt", 2)) == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 2, "the half file is there, under another name"
    assert load(tmp_path / "last.ckpt") == 1


def test_a_full_disk_keeps_the_checkpoint_before_and_the_process_alive(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save(tmp_path / "last.ckpt", 1)

    def fill() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
        save(tmp_path / "last.ckpt", 2)

    assert in_a_process(fill) == 0
    assert load(tmp_path / "last.ckpt") == 1
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]


def test_overwriting_keeps_one_checkpoint_and_removing_takes_both(tmp_path: Path) -> None:
    path = tmp_path / "best.ckpt"
    for step in (1, 2, 3):
        save(path, step)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["best.ckpt", "best.previous.ckpt"]
    AtomicCheckpointIO().remove_checkpoint(path)
    assert not list(tmp_path.iterdir())


class Payload:
    def __reduce__(self) -> tuple[object, ...]:
        return (os.mkdir, ("owned",))


@pytest.mark.parametrize("wrap", ["zip", "bare pickle"])
def test_pickled_code_is_refused_and_not_run(wrap: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "code.ckpt"
    if wrap == "zip":
        torch.save({"state_dict": Payload()}, path)
    else:
        path.write_bytes(pickle.dumps(Payload()))
    with pytest.raises(UserError, match=r"code\.ckpt"):
        load(path)
    assert not (tmp_path / "owned").exists()


def test_a_checkpoint_that_could_not_be_loaded_again_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="more than tensors and plain data"):
        AtomicCheckpointIO().save_checkpoint({"callback": Path("x")}, tmp_path / "last.ckpt")
    assert not list(tmp_path.iterdir())


def test_a_zip_bomb_is_refused_without_being_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.ckpt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(20 << 20))
    assert path.stat().st_size < 1 << 20
    with pytest.raises(UserError, match="zip bomb"):
        load(path)


@settings(max_examples=CASES, deadline=None)
@given(changes=st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), min_size=1, max_size=8), data=st.data())
def test_a_checkpoint_with_changed_bytes_is_read_as_it_was_or_refused(
    changes: list[tuple[int, int]], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed.ckpt"
    save(path, 7)
    previous(path).unlink(missing_ok=True)
    content = bytearray(path.read_bytes())
    for place, value in changes:
        content[place % len(content)] = value
    length = data.draw(st.sampled_from([len(content), len(content) // 2, len(content) - 1]))
    path.write_bytes(content[:length])
    try:
        verify(path)
    except UserError:
        return
    checkpoint = AtomicCheckpointIO().load_checkpoint(path)
    assert checkpoint["step"] == 7
    assert torch.equal(checkpoint["weights"], torch.full((1000,), 7.0))

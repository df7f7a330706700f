"""The embedded dataset: composed samples in files, and a folder that is never half made."""

import json
import multiprocessing
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from wsa_lightning.composer import compose, title
from wsa_lightning.data import embedded
from wsa_lightning.data.embedded import embedded_root, make_tracks, write_piece
from wsa_lightning.data.folders import PARTIAL
from wsa_lightning.data.tracks import SIGNALS
from wsa_lightning.errors import UserError

WAVS = {f"{name}.wav" for name in SIGNALS}
SHORT = 1.3  # seconds


def test_written_files_hold_the_composed_samples(tmp_path: Path) -> None:
    write_piece(tmp_path / "track", 1, 2, SHORT)
    for stem, expected in compose(1, 2, SHORT).items():
        path = tmp_path / "track" / f"{stem}.wav"
        read, rate = soundfile.read(path, dtype="int16")
        assert (rate, soundfile.info(path).subtype) == (44100, "PCM_16")
        np.testing.assert_array_equal(read, expected)


def test_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = soundfile.write

    def fail_late(path: Path, *args: object, **kwargs: object) -> None:
        if path.name == "vocals.wav":
            raise OSError("disk full")
        write(path, *args, **kwargs)

    monkeypatch.setattr(soundfile, "write", fail_late)
    with pytest.raises(OSError, match="disk full"):
        write_piece(tmp_path / "track", 0, 0, SHORT)
    assert list(tmp_path.iterdir()) == []


def test_write_piece_keeps_what_another_process_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def compose_slowly(seed: int, index: int, seconds: float) -> dict[str, NDArray[np.int16]]:
        monkeypatch.undo()
        write_piece(tmp_path / "track", seed, index, seconds)
        return compose(seed, index, seconds)

    monkeypatch.setattr(embedded, "compose", compose_slowly)
    write_piece(tmp_path / "track", 0, 0, SHORT)
    assert [path.name for path in tmp_path.iterdir()] == ["track"]


def test_write_piece_refuses_a_foreign_folder(tmp_path: Path) -> None:
    note = tmp_path / "track" / "mixture.wav"
    note.parent.mkdir()
    note.write_text("mine")
    with pytest.raises(UserError, match=r"track exists and is not a track"):
        write_piece(tmp_path / "track", 0, 0, SHORT)
    assert note.read_text() == "mine"


def make(root: Path, *, seed: int = 0, test: int = 1, workers: int = 1) -> None:
    make_tracks(root, train=2, test=test, seconds=SHORT, seed=seed, workers=workers)


def test_make_tracks_lays_out_musdb(tmp_path: Path) -> None:
    make(tmp_path / "songs", workers=2)
    found = {path.relative_to(tmp_path / "songs").parts for path in tmp_path.rglob("*.wav")}
    names = [title(0, index) for index in range(3)]
    expected = {("train", name, wav) for name in names[:2] for wav in WAVS}
    assert found == expected | {("test", names[2], wav) for wav in WAVS}
    assert {path.name for path in (tmp_path / "songs").iterdir()} == {"train", "test", "songs.json"}
    assert json.loads((tmp_path / "songs" / "songs.json").read_text())["seconds"] == SHORT


def test_make_tracks_resumes_where_it_was_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(folder: Path, seed: int, index: int, seconds: float) -> None:
        if index == 1:
            (folder.parent / f"{PARTIAL}killed").mkdir()
            raise KeyboardInterrupt
        write_piece(folder, seed, index, seconds)

    with monkeypatch.context() as patch:
        patch.setattr(embedded, "write_piece", interrupted)
        with pytest.raises(KeyboardInterrupt):
            make(tmp_path)
    assert len(list(tmp_path.rglob("*.wav"))) == 5
    first = tmp_path / "train" / title(0, 0) / "vocals.wav"
    written = first.stat().st_mtime_ns
    make(tmp_path)
    assert first.stat().st_mtime_ns == written
    assert len(list(tmp_path.rglob("*.wav"))) == 15
    assert not list(tmp_path.rglob(f"{PARTIAL}*"))


def test_finished_folder_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path)
    monkeypatch.setattr(embedded, "write_piece", None)
    make(tmp_path)


def test_lost_track_is_made_again(tmp_path: Path) -> None:
    make(tmp_path)
    lost = tmp_path / "test" / title(0, 2)
    before = (lost / "other.wav").read_bytes()
    for wav in WAVS:
        (lost / wav).unlink()
    lost.rmdir()
    make(tmp_path)
    assert (lost / "other.wav").read_bytes() == before


def test_make_tracks_refuses_another_recipe(tmp_path: Path) -> None:
    make(tmp_path)
    with pytest.raises(UserError, match=r"'seed': 0.*'seed': 1.*another folder"):
        make(tmp_path, seed=1)


def test_make_tracks_refuses_a_broken_marker(tmp_path: Path) -> None:
    (tmp_path / "songs.json").write_text("{")
    with pytest.raises(UserError, match=r"songs\.json that is not JSON"):
        make(tmp_path)


def test_make_tracks_refuses_foreign_content(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(UserError, match=r"holds thesis\.tex and no songs\.json.*another folder"):
        make(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_make_tracks_refuses_a_file(tmp_path: Path) -> None:
    (tmp_path / "songs").write_text("mine")
    with pytest.raises(UserError, match="is a file"):
        make(tmp_path / "songs")
    with pytest.raises(UserError, match=r"cannot be made \(Not a directory\).*WSA_LIGHTNING_CACHE"):
        make(tmp_path / "songs" / "below")


def test_two_processes_make_one_folder(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=make, args=(tmp_path / "songs",)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert len(list((tmp_path / "songs").glob("*/Song*/*.wav"))) == 15
    assert not list(tmp_path.rglob(f"{PARTIAL}*"))


@pytest.fixture
def small_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"TRAIN_TRACKS": 1, "TEST_TRACKS": 0, "SECONDS": SHORT}.items():
        monkeypatch.setattr(embedded, name, value)


@pytest.mark.usefixtures("small_default")
def test_embedded_root_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = embedded_root(tmp_path)
    assert root.parent == tmp_path
    assert len(list(root.rglob("*.wav"))) == 5
    monkeypatch.setattr(embedded, "write_piece", None)
    monkeypatch.setenv("WSA_LIGHTNING_CACHE", str(tmp_path))
    assert embedded_root() == root

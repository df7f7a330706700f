"""The embedded songs: same bytes, exact sums, levels, silence, and a folder that is never half made."""

import hashlib
import json
import multiprocessing
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from wsa_lightning.data import songs
from wsa_lightning.data.songs import compose, files, library, make_songs, song_name, write_song
from wsa_lightning.errors import UserError

SOURCES = ("drums", "bass", "other", "vocals")
WAVS = {f"{stem}.wav" for stem in ("mixture", *SOURCES)}
STRETCH = 1.3  # seconds of a song that is only there to be a file

Song = dict[str, NDArray[np.int16]]


@pytest.fixture(scope="module", params=range(4))
def song(request: pytest.FixtureRequest) -> Song:
    return compose(7, request.param, 20.0)


def digest(song: Song) -> str:
    return hashlib.sha256(b"".join(song[stem].tobytes() for stem in sorted(song))).hexdigest()


def score_of_mixture(song: Song) -> float:
    """What uSDR the mixture gets when it is handed in as the vocals, in dB."""
    vocals, mixture = (song[stem].astype(np.float64) for stem in ("vocals", "mixture"))
    return float(10 * np.log10(np.sum(vocals**2) / np.sum((vocals - mixture) ** 2)))


def test_same_seed_gives_same_bytes() -> None:
    assert digest(compose(3, 5, 2.0)) == digest(compose(3, 5, 2.0))


@pytest.mark.parametrize("other", [(3, 6), (4, 5)])
def test_another_index_or_seed_gives_another_song(other: tuple[int, int]) -> None:
    assert digest(compose(3, 5, 2.0)) != digest(compose(*other, 2.0))


def test_mixture_is_the_exact_sum(song: Song) -> None:
    total = sum(song[stem].astype(np.int32) for stem in SOURCES)
    np.testing.assert_array_equal(song["mixture"], total)


def test_mixture_as_vocals_scores_about_zero(song: Song) -> None:
    assert -1 < score_of_mixture(song) < 1


@pytest.mark.parametrize("index", range(6))
def test_short_songs_are_levelled_too(index: int) -> None:
    assert -1 < score_of_mixture(compose(0, index, 1.6)) < 1


def test_levels_vary_from_song_to_song() -> None:
    scores = [score_of_mixture(compose(0, index, 1.6)) for index in range(6)]
    assert np.ptp(scores) > 0.3


def test_about_a_third_of_the_vocals_is_silent(song: Song) -> None:
    vocals = song["vocals"].astype(np.float64)
    frame = 2205  # 50 ms
    frames = vocals[: len(vocals) // frame * frame].reshape(-1, frame * 2)
    loudness = np.sqrt(np.mean(frames**2, axis=1))
    silent = np.mean(loudness < 0.01 * np.sqrt(np.mean(vocals**2)))
    assert 0.2 < silent < 0.5


def test_no_stem_is_empty_and_nothing_clips(song: Song) -> None:
    for stem in SOURCES:
        assert np.abs(song[stem].astype(np.int32)).max() > 1000
    for samples in song.values():
        assert np.abs(samples.astype(np.int32)).max() < 0.9 * 32768


def test_both_sides_carry_different_sound(song: Song) -> None:
    for stem in ("drums", "other", "vocals", "mixture"):
        left, right = song[stem].T.astype(np.float64)
        assert np.any(left != right)


@pytest.mark.parametrize("seconds", [0.05, 1.3, 3.337])
def test_length_is_exact(seconds: float) -> None:
    for samples in compose(0, 0, seconds).values():
        assert samples.shape == (round(seconds * 44100), 2)
        assert samples.dtype == np.int16


def test_length_must_be_positive() -> None:
    with pytest.raises(ValueError, match="0 samples"):
        compose(0, 0, 0.0)


def test_written_files_hold_the_composed_samples(tmp_path: Path) -> None:
    write_song(tmp_path / "song", 1, 2, STRETCH)
    for stem, expected in compose(1, 2, STRETCH).items():
        path = tmp_path / "song" / f"{stem}.wav"
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
        write_song(tmp_path / "song", 0, 0, STRETCH)
    assert list(tmp_path.iterdir()) == []


def test_write_song_keeps_what_another_process_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def compose_slowly(seed: int, index: int, seconds: float) -> Song:
        monkeypatch.undo()
        write_song(tmp_path / "song", seed, index, seconds)
        return compose(seed, index, seconds)

    monkeypatch.setattr(files, "compose", compose_slowly)
    write_song(tmp_path / "song", 0, 0, STRETCH)
    assert [path.name for path in tmp_path.iterdir()] == ["song"]


def test_write_song_refuses_a_foreign_folder(tmp_path: Path) -> None:
    note = tmp_path / "song" / "mixture.wav"
    note.parent.mkdir()
    note.write_text("mine")
    with pytest.raises(UserError, match=r"song exists and is not a song"):
        write_song(tmp_path / "song", 0, 0, STRETCH)
    assert note.read_text() == "mine"


def make(root: Path, *, seed: int = 0, test: int = 1, workers: int = 1) -> None:
    make_songs(root, train=2, test=test, seconds=STRETCH, seed=seed, workers=workers)


def test_make_songs_lays_out_musdb(tmp_path: Path) -> None:
    make(tmp_path / "songs", workers=2)
    found = {path.relative_to(tmp_path / "songs").parts for path in tmp_path.rglob("*.wav")}
    names = [song_name(0, index) for index in range(3)]
    expected = {("train", name, wav) for name in names[:2] for wav in WAVS}
    assert found == expected | {("test", names[2], wav) for wav in WAVS}
    assert {path.name for path in (tmp_path / "songs").iterdir()} == {"train", "test", "songs.json"}
    assert json.loads((tmp_path / "songs" / "songs.json").read_text())["seconds"] == STRETCH


def test_names_differ_and_repeat() -> None:
    names = [song_name(0, index) for index in range(40)]
    assert len(set(names)) == 40
    assert names[3].startswith("Song 003 - ")
    assert names == [song_name(0, index) for index in range(40)]


def test_make_songs_resumes_where_it_was_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(folder: Path, seed: int, index: int, seconds: float) -> None:
        if index == 1:
            (folder.parent / f"{files.PARTIAL}killed").mkdir()
            raise KeyboardInterrupt
        write_song(folder, seed, index, seconds)

    with monkeypatch.context() as patch:
        patch.setattr(library, "write_song", interrupted)
        with pytest.raises(KeyboardInterrupt):
            make(tmp_path)
    assert not songs.is_complete(tmp_path)
    first = tmp_path / "train" / song_name(0, 0) / "vocals.wav"
    written = first.stat().st_mtime_ns
    make(tmp_path)
    assert songs.is_complete(tmp_path)
    assert first.stat().st_mtime_ns == written
    assert len(list(tmp_path.rglob("*.wav"))) == 15
    assert not list(tmp_path.rglob(f"{files.PARTIAL}*"))


def test_finished_folder_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path)
    monkeypatch.setattr(library, "write_song", None)
    make(tmp_path)


def test_lost_song_is_made_again(tmp_path: Path) -> None:
    make(tmp_path)
    lost = tmp_path / "test" / song_name(0, 2)
    before = (lost / "other.wav").read_bytes()
    for wav in WAVS:
        (lost / wav).unlink()
    lost.rmdir()
    make(tmp_path)
    assert (lost / "other.wav").read_bytes() == before


def test_make_songs_refuses_another_recipe(tmp_path: Path) -> None:
    make(tmp_path)
    with pytest.raises(UserError, match=r"'seed': 0.*'seed': 1.*another folder"):
        make(tmp_path, seed=1)


def test_make_songs_refuses_a_broken_marker(tmp_path: Path) -> None:
    (tmp_path / "songs.json").write_text("{")
    with pytest.raises(UserError, match=r"songs\.json that is not JSON"):
        make(tmp_path)


def test_make_songs_refuses_foreign_content(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(UserError, match=r"holds thesis\.tex and no songs\.json.*another folder"):
        make(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_make_songs_refuses_a_file(tmp_path: Path) -> None:
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
    assert songs.is_complete(tmp_path / "songs")
    assert len(list((tmp_path / "songs").glob("*/Song*/*.wav"))) == 15
    assert not list(tmp_path.rglob(f"{files.PARTIAL}*"))


@pytest.fixture
def small_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"TRAIN_SONGS": 1, "TEST_SONGS": 0, "SECONDS": STRETCH}.items():
        monkeypatch.setattr(library, name, value)


@pytest.mark.usefixtures("small_default")
def test_embedded_root_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = songs.embedded_root(tmp_path)
    assert root.parent == tmp_path
    assert songs.is_complete(root)
    monkeypatch.setattr(library, "write_song", None)
    monkeypatch.setenv("WSA_LIGHTNING_CACHE", str(tmp_path))
    assert songs.embedded_root() == root

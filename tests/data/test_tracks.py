"""Songs on disk: what is read, how a tree is split, and what is said when something is wrong."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from wsa_lightning.data.splits import official_validation_names, split
from wsa_lightning.data.tracks import SOURCES, STEMS, Track, find_tracks, open_track
from wsa_lightning.errors import UserError

WriteTrack = Callable[..., Path]
MakeTrack = Callable[..., Track]


def test_a_track_reads_the_samples_asked_for_as_channels_by_samples(make_track: MakeTrack) -> None:
    track = make_track()
    for stem in ("mixture", *SOURCES):
        whole, _ = soundfile.read(track.folder / f"{stem}.wav", dtype="float32")
        part = track.read(stem, 100, 350)
        assert part.dtype == np.float32
        np.testing.assert_array_equal(part, whole[100:350].T)


def test_instrumental_and_vocals_make_the_mixture(make_track: MakeTrack) -> None:
    track = make_track()
    instrumental, vocals, mixture = (track.read(s, 0, 2000) for s in ("instrumental", "vocals", "mixture"))
    np.testing.assert_allclose(instrumental + vocals, mixture, atol=1e-6)


def test_an_opened_track_knows_its_name_rate_and_length(make_track: MakeTrack) -> None:
    track = make_track("Artist - Title", samples=1234)
    assert (track.name, track.sample_rate, track.samples) == ("Artist - Title", 44100, 1234)


def test_sixteen_bit_files_with_chunks_before_the_audio_are_not_taken_for_truncated(
    tmp_path: Path, write_track: WriteTrack
) -> None:
    folder = write_track(tmp_path / "track")
    for path in folder.iterdir():
        audio, rate = soundfile.read(path)
        soundfile.write(path, audio, rate, subtype="PCM_16")
        wav = path.read_bytes()
        path.write_bytes(wav[:12] + b"LIST\x03\x00\x00\x00abc\x00" + wav[12:])
    assert open_track(folder).samples == 2000


def test_a_wav_written_to_a_pipe_is_not_taken_for_truncated(tmp_path: Path, write_track: WriteTrack) -> None:
    folder = write_track(tmp_path / "track")
    for path in folder.iterdir():
        audio, rate = soundfile.read(path)
        soundfile.write(path, audio, rate, subtype="PCM_16")
        wav = path.read_bytes()
        path.write_bytes(wav[:4] + b"\xff" * 4 + wav[8:40] + b"\xff" * 4 + wav[44:])
    assert open_track(folder).samples == 2000


def test_tracks_are_found_sorted_by_name(tmp_path: Path, write_track: WriteTrack) -> None:
    for name in ("b", "c", "a"):
        write_track(tmp_path / "train" / name)
    (tmp_path / "train" / ".cache").mkdir()
    (tmp_path / "train" / "README.txt").touch()
    assert [track.name for track in find_tracks(tmp_path, "train")] == ["a", "b", "c"]


class TestErrors:
    """Each names the file, what was seen, what was expected and what to do, on one line."""

    @pytest.fixture
    def folder(self, tmp_path: Path, write_track: WriteTrack) -> Path:
        return write_track(tmp_path / "track")

    def test_a_missing_root_is_named(self, tmp_path: Path) -> None:
        _refuses(lambda: find_tracks(tmp_path / "nowhere", "train"), "nowhere does not exist", "data.root")

    def test_a_root_that_is_a_file_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "musdb.zip").touch()
        _refuses(lambda: find_tracks(tmp_path / "musdb.zip", "train"), "musdb.zip is a file, not a folder")

    def test_a_root_without_the_subset_lists_what_it_holds(self, tmp_path: Path) -> None:
        for n in range(7):
            (tmp_path / f"Song {n}").mkdir()
        _refuses(lambda: find_tracks(tmp_path, "train"), "train: no tracks", "Song 4 and 2 more", "data.root")

    def test_an_empty_subset_lists_what_it_holds(self, tmp_path: Path) -> None:
        (tmp_path / "test").mkdir()
        _refuses(lambda: find_tracks(tmp_path, "test"), "test: no tracks", "nothing")

    @pytest.mark.parametrize("place", [".", "train"])
    def test_the_compressed_layout_is_recognised(self, tmp_path: Path, place: str) -> None:
        (tmp_path / place).mkdir(exist_ok=True)
        (tmp_path / place / "Artist - Title.stem.mp4").touch()
        _refuses(lambda: find_tracks(tmp_path, "train"), "Title.stem.mp4", "compressed", "data decode", "WAV")

    def test_a_missing_stem_is_named(self, folder: Path) -> None:
        (folder / "bass.wav").unlink()
        _refuses(lambda: open_track(folder), "track: bass.wav missing", "found drums.wav, mixture.wav")

    def test_a_stem_of_another_length_is_named(self, folder: Path) -> None:
        soundfile.write(folder / "other.wav", np.zeros((1999, 2)), 44100)
        _refuses(lambda: open_track(folder), "other.wav: 1999 samples", "mixture.wav has 2000", "cut or pad")

    def test_a_stem_of_another_rate_is_named(self, folder: Path) -> None:
        soundfile.write(folder / "drums.wav", np.zeros((2000, 2)), 22050)
        _refuses(lambda: open_track(folder), "drums.wav: 22050 Hz", "expected 44100 Hz", "resample")

    def test_a_track_of_another_rate_is_named(self, tmp_path: Path, write_track: WriteTrack) -> None:
        folder = write_track(tmp_path / "track", rate=48000)
        _refuses(lambda: open_track(folder), "mixture.wav: 48000 Hz", "expected 44100 Hz")
        assert open_track(folder, sample_rate=48000).sample_rate == 48000

    @pytest.mark.parametrize("lost", [1, 1001, 16000])
    def test_a_truncated_file_is_named(self, folder: Path, lost: int) -> None:
        path = folder / "vocals.wav"
        path.write_bytes(path.read_bytes()[:-lost])
        _refuses(lambda: open_track(folder), "vocals.wav: truncated", f"{lost} bytes fewer", "copy")

    @pytest.mark.parametrize("content", [b"", b"RIFF", b"<html>404</html>" * 9])
    def test_an_unreadable_file_is_named(self, folder: Path, content: bytes) -> None:
        (folder / "vocals.wav").write_bytes(content)
        _refuses(lambda: open_track(folder), "vocals.wav: cannot be read", "expected a WAV file")

    def test_an_empty_track_is_named(self, tmp_path: Path, write_track: WriteTrack) -> None:
        folder = write_track(tmp_path / "track")
        for path in folder.iterdir():
            soundfile.write(path, np.zeros((0, 2)), 44100, subtype="PCM_16")
        _refuses(lambda: open_track(folder), "mixture.wav: 0 samples")

    def test_a_mono_file_is_named(self, tmp_path: Path, write_track: WriteTrack) -> None:
        folder = write_track(tmp_path / "track", channels=1)
        _refuses(lambda: open_track(folder), "mixture.wav: 1 channel (mono)", "two channels", "stereo")

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_a_file_with_samples_that_are_not_finite_is_named(self, folder: Path, value: float) -> None:
        audio, rate = soundfile.read(folder / "bass.wav", dtype="float32")
        audio[700, 1] = value
        soundfile.write(folder / "bass.wav", audio, rate, subtype="FLOAT")
        track = open_track(folder)
        assert track.read("bass", 0, 700).shape == (2, 700)
        _refuses(lambda: track.read("instrumental", 600, 800), "bass.wav", "NaN or infinity", "600 and 800")

    def test_a_file_cut_after_it_was_opened_is_named(self, folder: Path) -> None:
        track = open_track(folder)
        soundfile.write(folder / "drums.wav", np.zeros((1500, 2)), 44100)
        _refuses(lambda: track.read("drums", 1000, 2000), "drums.wav: 500 samples", "expected 1000")
        _refuses(lambda: track.read("drums", 1800, 2000), "drums.wav", "copy")

    def test_an_unknown_stem_is_answered_with_the_known_ones(self, folder: Path) -> None:
        _refuses(lambda: open_track(folder).read("guitar", 0, 10), "'guitar'", ", ".join(STEMS))

    @pytest.mark.parametrize(("start", "stop"), [(-1, 10), (10, 5), (0, 2001)])
    def test_a_range_outside_the_track_is_a_bug_of_the_caller(self, folder: Path, start: int, stop: int) -> None:
        with pytest.raises(ValueError, match="'track', which has 2000"):
            open_track(folder).read("vocals", start, stop)


def test_the_14_official_validation_names_are_found_without_importing_musdb() -> None:
    code = (
        "import sys; from wsa_lightning.data.splits import official_validation_names as names; "
        "print(len(names()), 'musdb' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["14", "False"]
    assert "Meaxic - Take A Step" in official_validation_names()


def test_the_official_split_is_used_where_its_names_are_there(tmp_path: Path, write_track: WriteTrack) -> None:
    for name in ("Meaxic - Take A Step", "ANiMAL - Rockshow", "A", "B"):
        write_track(tmp_path / "train" / name)
    write_track(tmp_path / "test" / "T")
    assert _names(tmp_path, "valid") == ["ANiMAL - Rockshow", "Meaxic - Take A Step"]
    assert _names(tmp_path, "train") == ["A", "B"]
    assert _names(tmp_path, "test") == ["T"]


@pytest.mark.parametrize(("tracks", "valid"), [(2, 1), (7, 1), (11, 2)])
def test_other_tracks_are_split_by_the_hash_of_their_names(
    tmp_path: Path, write_track: WriteTrack, tracks: int, valid: int
) -> None:
    names = [f"track {n:02}" for n in range(tracks)]
    for name in names:
        write_track(tmp_path / "train" / name, samples=10)
    assert len(_names(tmp_path, "valid")) == valid
    assert sorted(_names(tmp_path, "valid") + _names(tmp_path, "train")) == names


def test_the_split_by_hash_is_the_same_on_every_machine(tmp_path: Path, write_track: WriteTrack) -> None:
    for n in range(7):
        write_track(tmp_path / "train" / f"song {n}", samples=10)
    assert _names(tmp_path, "valid") == ["song 6"]


def test_only_official_validation_tracks_still_leave_some_to_train_on(tmp_path: Path, write_track: WriteTrack) -> None:
    for name in ("Meaxic - Take A Step", "ANiMAL - Rockshow"):
        write_track(tmp_path / "train" / name)
    assert len(_names(tmp_path, "train")) == len(_names(tmp_path, "valid")) == 1


def test_one_track_cannot_be_split(tmp_path: Path, write_track: WriteTrack) -> None:
    write_track(tmp_path / "train" / "only")
    _refuses(lambda: split(tmp_path, "valid"), "1 track (only)", "at least 2", "add tracks")


def test_an_unknown_split_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    _refuses(lambda: split(tmp_path, "dev"), "'dev'", "train, valid, test")  # type: ignore[arg-type]


def _names(root: Path, name: str) -> list[str]:
    return [track.name for track in split(root, name)]  # type: ignore[arg-type]


def _refuses(action: Callable[[], object], *parts: str) -> None:
    with pytest.raises(UserError) as caught:
        action()
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message

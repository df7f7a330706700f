"""``data decode`` turns real ``.stem.mp4`` files into songs that train."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.conftest import Run
from wsa_lightning.data.decode import STREAMS, decode_each, find_jobs
from wsa_lightning.data.folders import is_track
from wsa_lightning.data.tracks import find_tracks
from wsa_lightning.errors import UserError

pytestmark = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")

RATE = 44100
NAMES = ("Ünïcode - 100 % 'quoted' song", "Loud - song")


@pytest.fixture(scope="module")
def compressed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A MUSDB18 tree of one quiet training song and one test song whose AAC overshoots, a second each."""
    root = tmp_path_factory.mktemp("musdb18")
    for subset, name, level in (("train", NAMES[0], 0.1), ("test", NAMES[1], 1.0)):
        folder = root / "wav" / name
        folder.mkdir(parents=True)
        (root / subset).mkdir()
        time = np.arange(RATE)[:, None] / RATE
        stems = {stem: level * np.sign(np.sin(2 * np.pi * (110 * (n + 1)) * time)) for n, stem in enumerate(STREAMS)}
        for stem, audio in stems.items():
            soundfile.write(folder / f"{stem}.wav", np.repeat(audio, 2, axis=1), RATE)
        inputs = [word for stem in STREAMS for word in ("-i", str(folder / f"{stem}.wav"))]
        maps = [word for number in range(5) for word in ("-map", str(number))]
        target = root / subset / f"{name}.stem.mp4"
        command = ["ffmpeg", "-loglevel", "error", *inputs, *maps, "-c:a", "aac", "-b:a", "256k", str(target)]
        subprocess.run(command, check=True)
    return root


def decode(root: Path, out: Path) -> list[str | None]:
    todo = [job for job in find_jobs(root, out) if not is_track(job.target)]
    return [decoded.error for decoded in decode_each(todo, workers=2)]


def test_decoded_songs_open_as_tracks_and_sound_like_what_was_encoded(compressed: Path, tmp_path: Path) -> None:
    assert decode(compressed, tmp_path) == [None, None]
    (song,) = find_tracks(tmp_path, "train")
    assert song.name == NAMES[0]
    for stem in STREAMS:
        original, _ = soundfile.read(compressed / "wav" / NAMES[0] / f"{stem}.wav", dtype="float32")
        decoded, _ = soundfile.read(song.folder / f"{stem}.wav", dtype="float32")
        assert len(decoded) >= len(original)
        error = decoded[: len(original)] - original
        assert np.square(error).mean() < 0.01 * np.square(original).mean()


def test_the_samples_are_those_musdb_itself_reads(compressed: Path, tmp_path: Path) -> None:
    import musdb

    decode(compressed, tmp_path)
    (track,) = musdb.DB(root=str(compressed), subsets="train").tracks
    ours = np.stack([soundfile.read(tmp_path / "train" / NAMES[0] / f"{stem}.wav")[0] for stem in STREAMS])
    np.testing.assert_allclose(ours, track.stems, atol=1.01 / 32768)


def test_what_16_bits_would_clip_is_kept_in_float(compressed: Path, tmp_path: Path) -> None:
    decode(compressed, tmp_path)
    assert soundfile.info(tmp_path / "train" / NAMES[0] / "mixture.wav").subtype == "PCM_16"
    loud = tmp_path / "test" / NAMES[1] / "mixture.wav"
    assert soundfile.info(loud).subtype == "FLOAT"
    assert np.abs(soundfile.read(loud)[0]).max() > 1


def test_what_is_there_is_not_decoded_again_and_leftovers_go(compressed: Path, tmp_path: Path) -> None:
    decode(compressed, tmp_path)
    shutil.rmtree(tmp_path / "test" / NAMES[1])
    leftover = tmp_path / "test" / ".partial-killed"
    leftover.mkdir()
    before = (tmp_path / "train" / NAMES[0] / "bass.wav").stat().st_mtime_ns
    assert decode(compressed, tmp_path) == [None]
    assert (tmp_path / "train" / NAMES[0] / "bass.wav").stat().st_mtime_ns == before
    assert not leftover.exists()


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


@pytest.mark.parametrize("spoil", [cut, lambda data: b"no mp4" * 100], ids=["cut off", "not a video"])
def test_a_broken_file_is_named_and_leaves_nothing(
    spoil: Callable[[bytes], bytes], compressed: Path, tmp_path: Path
) -> None:
    root = shutil.copytree(compressed, tmp_path / "in")
    broken = root / "train" / f"{NAMES[0]}.stem.mp4"
    broken.write_bytes(spoil(broken.read_bytes()))
    errors = [error for error in decode(root, tmp_path / "out") if error is not None]
    assert len(errors) == 1
    assert str(broken) in errors[0]
    assert [path.name for path in (tmp_path / "out").glob("*/*")] == [NAMES[1]]


def test_the_command_decodes_what_it_can_and_exits_with_1(compressed: Path, tmp_path: Path, wsa: Run) -> None:
    root = shutil.copytree(compressed, tmp_path / "in")
    broken = root / "train" / f"{NAMES[0]}.stem.mp4"
    broken.write_bytes(cut(broken.read_bytes()))
    result = wsa("data", "decode", root, tmp_path / "out")
    assert result.returncode == 1, result.stderr
    assert f"error: {broken}" in result.stderr
    assert "1 of 2 tracks are in" in result.stdout


def test_a_tree_without_compressed_songs_is_refused(songs: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"stem\.mp4"):
        find_jobs(songs, tmp_path)


def test_without_ffmpeg_the_message_names_it(compressed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="install ffmpeg"):
        decode(compressed, tmp_path / "out")

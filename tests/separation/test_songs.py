"""Files in, files out: any rate, any channels, the same length, whole or not at all."""

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray

from tests.conftest import TINY
from tests.separation.conftest import Identity
from wsa_lightning.errors import UserError
from wsa_lightning.separation import separate_file
from wsa_lightning.separation.outputs import StemFormat

FLOAT = StemFormat(subtype="FLOAT")
needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")


def music(samples: int, channels: int, rate: int) -> NDArray[np.float32]:
    """Sines below 3 kHz, another in every channel, so that any rate holds them."""
    time = np.arange(samples)[:, None] / rate
    frequency = 300 * (1 + np.arange(channels))
    return (0.5 * np.sin(2 * np.pi * frequency * time)).astype(np.float32)


def through(path: Path, audio: NDArray[np.float32], rate: int, **options: object) -> dict[str, NDArray[np.float32]]:
    soundfile.write(path, audio, rate, subtype="FLOAT")
    model = Identity(replace(TINY, window=6))
    separate_file(model, path, path.parent / "out", form=FLOAT, chunk_seconds=0.1, **options)  # type: ignore[arg-type]
    stems = {}
    for file in sorted((path.parent / "out").iterdir()):
        stems[file.stem], found = soundfile.read(file, dtype="float32", always_2d=True)
        assert found == rate
    return stems


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000, 96000, 192000])
@pytest.mark.parametrize("samples", [1, 2, 1001, 20011])
def test_stems_have_the_rate_and_the_length_of_the_file(rate: int, samples: int, tmp_path: Path) -> None:
    audio = music(samples, 2, rate)
    stems = through(tmp_path / "song.wav", audio, rate)
    assert set(stems) == {"vocals", "instrumental"}
    assert stems["vocals"].shape == stems["instrumental"].shape == audio.shape
    np.testing.assert_allclose(stems["vocals"] + stems["instrumental"], audio, atol=1e-6)
    if samples == 20011:  # an identity: all is vocals, shifted by nothing
        tolerance = 1e-6 if rate == 44100 else 2e-3
        inner = slice(2000, -2000)
        np.testing.assert_allclose(stems["vocals"][inner], audio[inner], atol=tolerance)


@pytest.mark.parametrize("channels", [1, 2, 3, 6])
def test_every_channel_comes_back_as_itself(channels: int, tmp_path: Path) -> None:
    audio = music(9000, channels, 44100)
    stems = through(tmp_path / "song.wav", audio, 44100)
    np.testing.assert_allclose(stems["vocals"], audio, atol=1e-6)


@pytest.mark.parametrize("name", ["song.flac", "song.ogg", "song.opus", "song.mp3"])
def test_libsndfile_formats_are_read(name: str, tmp_path: Path) -> None:
    rate = 48000
    subtype = {"song.opus": "OPUS", "song.ogg": "VORBIS"}.get(name)
    container = "OGG" if subtype else None
    soundfile.write(tmp_path / name, music(rate, 2, rate), rate, subtype=subtype, format=container)
    expected, _ = soundfile.read(tmp_path / name)
    separate_file(Identity(), tmp_path / name, tmp_path / "out")  # type: ignore[arg-type]
    vocals, found = soundfile.read(tmp_path / "out" / "vocals.wav")
    assert (vocals.shape, found) == (expected.shape, rate)
    np.testing.assert_allclose(vocals[2000:-2000], expected[2000:-2000], atol=5e-3)


@needs_ffmpeg
@pytest.mark.parametrize("name", ["song.m4a", "song.mp4", "named.wav"])
def test_mpeg4_is_read_through_ffmpeg_whatever_it_is_called(name: str, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "source.wav", music(44100, 2, 44100), 44100)
    encode = ["ffmpeg", "-v", "error", "-i", tmp_path / "source.wav", "-c:a", "aac", "-f", "mp4", tmp_path / name]
    subprocess.run(encode, check=True)
    separate_file(Identity(), tmp_path / name, tmp_path / "out", form=FLOAT)  # type: ignore[arg-type]
    vocals, rate = soundfile.read(tmp_path / "out" / "vocals.wav")
    assert rate == 44100
    assert 44100 <= len(vocals) < 44100 + 2 * 1024, "AAC pads to whole frames"


@needs_ffmpeg
def test_mpeg4_without_ffmpeg_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "song.m4a").write_bytes(b"\0\0\0\x20ftypM4A " + bytes(100))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="install ffmpeg"):
        separate_file(Identity(), tmp_path / "song.m4a", tmp_path / "out")  # type: ignore[arg-type]


def test_the_instrumental_is_the_mixture_without_the_vocals_at_the_files_own_rate(tmp_path: Path) -> None:
    rate = 192000
    audio = music(rate // 4, 2, rate) + 0.1 * np.sin(2 * np.pi * 40000 / rate * np.arange(rate // 4))[:, None]
    stems = through(tmp_path / "song.wav", audio.astype(np.float32), rate)
    hum = np.abs(np.fft.rfft(stems["instrumental"][:, 0]))[10000]  # 40 kHz: no model at 44.1 kHz hears it
    assert hum == pytest.approx(0.1 * rate / 4 / 2, rel=0.01)


def test_clipping_is_counted_in_integer_formats_and_reported(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "loud.wav", 2 * music(5000, 2, 44100), 44100, subtype="FLOAT")
    loud, quiet = 2.0 * np.abs(music(5000, 2, 44100)), StemFormat(subtype="PCM_16")
    result = separate_file(Identity(), tmp_path / "loud.wav", tmp_path / "out", form=quiet)  # type: ignore[arg-type]
    assert result.levels["vocals"].clipped == (loud > 1).sum() == 0
    soundfile.write(tmp_path / "loud.wav", 3 * music(5000, 2, 44100), 44100, subtype="FLOAT")
    result = separate_file(Identity(), tmp_path / "loud.wav", tmp_path / "out", form=quiet)  # type: ignore[arg-type]
    assert result.levels["vocals"].clipped > 0
    assert result.levels["vocals"].peak == pytest.approx(1.5, abs=1e-3)
    assert any("vocals clipped" in note and "+3.5 dBFS" in note and "FLOAT" in note for note in result.notes)
    result = separate_file(Identity(), tmp_path / "loud.wav", tmp_path / "out", form=FLOAT)  # type: ignore[arg-type]
    assert result.levels["vocals"].clipped == 0
    assert not result.notes


@pytest.mark.parametrize(("subtype", "form"), [("PCM_24", "wav"), ("PCM_16", "flac"), ("PCM_24", "flac")])
def test_the_format_is_the_one_asked_for(subtype: str, form: str, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "song.wav", music(5000, 2, 44100), 44100)
    asked = StemFormat(form, subtype)  # type: ignore[arg-type]
    separate_file(Identity(), tmp_path / "song.wav", tmp_path / "out", form=asked, comment="who made it")  # type: ignore[arg-type]
    with soundfile.SoundFile(tmp_path / "out" / f"vocals.{form}") as file:
        assert (file.format, file.subtype, file.comment) == (form.upper(), subtype, "who made it")


def test_a_wav_beyond_4_gb_is_announced_and_written_as_rf64(tmp_path: Path) -> None:
    from wsa_lightning.separation.outputs import StemFiles

    with StemFiles(tmp_path, ("vocals",), FLOAT, 44100, 2, samples=10**9) as files:
        files.write(np.zeros((10, 1, 2), np.float32))
    assert soundfile.info(tmp_path / "vocals.wav").format == "RF64"


def test_what_breaks_off_leaves_nothing_behind_and_old_stems_alone(tmp_path: Path) -> None:
    audio = music(200000, 2, 44100)
    audio[150000] = np.nan
    soundfile.write(tmp_path / "song.wav", audio, 44100, subtype="FLOAT")
    with pytest.raises(UserError, match="NaN or infinity at"):
        separate_file(Identity(), tmp_path / "song.wav", tmp_path / "new" / "out", chunk_seconds=0.1)  # type: ignore[arg-type]
    assert not (tmp_path / "new").exists()
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "vocals.wav").write_text("kept")
    with pytest.raises(UserError):
        separate_file(Identity(), tmp_path / "song.wav", tmp_path / "old", chunk_seconds=0.1)  # type: ignore[arg-type]
    assert [path.name for path in (tmp_path / "old").iterdir()] == ["vocals.wav"]
    assert (tmp_path / "old" / "vocals.wav").read_text() == "kept"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", place], capture_output=True, check=False
    )
    if mount.returncode:
        pytest.skip("this machine does not let us mount a small disk")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_full_disk_is_said_and_left_as_it_was(small_disk: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "song.wav", music(300000, 2, 44100), 44100)
    with pytest.raises(UserError, match="the disk is full"):
        separate_file(Identity(), tmp_path / "song.wav", small_disk / "out", chunk_seconds=0.1)  # type: ignore[arg-type]
    assert not list(small_disk.iterdir())


@pytest.mark.parametrize("stems", [("drums",), ("vocals", "drums"), ()])
def test_stems_that_the_model_cannot_give_are_refused(stems: tuple[str, ...], tmp_path: Path) -> None:
    soundfile.write(tmp_path / "song.wav", music(500, 2, 44100), 44100)
    with pytest.raises(UserError, match="expected some of vocals,instrumental"):
        separate_file(Identity(), tmp_path / "song.wav", tmp_path / "out", stems=stems)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_memory_held_while_a_song_streams_is_a_few_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from wsa_lightning.separation import songs

    most = 0
    take = songs._Queue.take

    def watched(queue: songs._Queue, samples: int) -> NDArray[np.float32]:
        nonlocal most
        most = max(most, len(queue))
        return take(queue, samples)

    monkeypatch.setattr(songs._Queue, "take", watched)
    soundfile.write(tmp_path / "song.wav", np.zeros((60 * 48000, 2), np.int16), 48000)
    separate_file(Identity(), tmp_path / "song.wav", tmp_path / "out", chunk_seconds=2)  # type: ignore[arg-type]
    assert most < 10 * 48000
    assert torch.tensor(soundfile.info(tmp_path / "out" / "vocals.wav").frames) == 60 * 48000

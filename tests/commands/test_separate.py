"""``separate`` as a user runs it: folders in, folders out, every file accounted for, the exit status right."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from tests.conftest import REPOSITORY, Run
from wsa_lightning import cli
from wsa_lightning.checkpoints import load, save_public
from wsa_lightning.separation.inputs import find_songs
from wsa_lightning.separation.outputs import StemFiles


def noise(samples: int, channels: int = 2) -> NDArray[np.float32]:
    return (0.1 * np.random.default_rng(0).standard_normal((samples, channels))).astype(np.float32)


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


class Ended(NamedTuple):
    """What a command left on the terminal."""

    returncode: int
    stdout: str
    stderr: str


Separate = Callable[..., Ended]


@pytest.fixture
def separate(tiny_teacher: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Separate:
    """The command line in this process, with a teacher that takes no time."""

    def run(*arguments: object) -> Ended:
        words = ["wsa", "separate", "--checkpoint", tiny_teacher, *arguments]
        monkeypatch.setattr(sys, "argv", [str(word) for word in words])
        try:
            cli.main()
            status = 0
        except SystemExit as ended:
            status = int(ended.code or 0)
        return Ended(status, *capsys.readouterr())

    return run


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Three good songs, one below, and what people keep beside them."""
    root = tmp_path / "album"
    (root / "live").mkdir(parents=True)
    soundfile.write(root / "one.wav", noise(30000), 44100)
    soundfile.write(root / "mono.flac", noise(8000, 1), 8000)
    soundfile.write(root / "live" / "one.ogg", noise(20000), 48000)
    (root / "cover.jpg").write_bytes(b"jpeg")
    (root / "._one.wav").write_bytes(b"finder")
    return root


def test_a_folder_is_separated_by_the_shipped_student_and_the_second_time_skipped(
    album: Path, wsa: Run, separate: Separate, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    result = wsa("separate", album, "--out", out)
    assert result.returncode == 0, result.stderr
    songs = ("live/one", "mono", "one")
    assert files(out) == sorted(f"{song}/{stem}.wav" for song in songs for stem in ("vocals", "instrumental"))
    for song, source in zip(songs, ("live/one.ogg", "mono.flac", "one.wav"), strict=True):
        before, after = soundfile.info(album / source), soundfile.info(out / song / "vocals.wav")
        assert (before.frames, before.samplerate, before.channels) == (after.frames, after.samplerate, after.channels)
    vocals, instrumental, mixture = (
        soundfile.read(path)[0]
        for path in (out / "one" / "vocals.wav", out / "one" / "instrumental.wav", album / "one.wav")
    )
    np.testing.assert_allclose(vocals + instrumental, mixture, atol=2 / 32768)
    for words in ("8000 Hz, resampled", "mono", "x real time", "3 separated, 0 done before, 0 failed"):
        assert words in result.stdout

    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("*.wav")}
    again = separate(album, "--out", out, "--checkpoint", "small")
    assert again.returncode == 0, again.stderr
    assert "0 separated, 3 done before, 0 failed" in again.stdout
    assert again.stdout.count("skipped") == 3
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.wav")} == stamps


def test_stems_of_a_public_student_are_not_taken_for_those_of_another_window_in_its_yaml(
    album: Path, separate: Separate, tmp_path: Path
) -> None:
    companion = save_public(load("small"), tmp_path / "student.ckpt")
    words = (album / "one.wav", "--out", tmp_path / "out", "--checkpoint", tmp_path / "student.ckpt", "--overlap", 1)
    assert separate(*words).returncode == 0
    assert "1 done before" in separate(*words).stdout
    companion.write_text(companion.read_text().replace("  n_wsa_sinks", "  wsa_dilation: 2\n  n_wsa_sinks"))
    other = separate(*words)
    assert "window 16/2" in other.stdout
    assert "0 done before" in other.stdout


def test_bad_files_are_named_the_others_done_and_the_exit_status_is_1(
    album: Path, separate: Separate, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    broken = noise(9000)
    broken[4410] = np.nan
    soundfile.write(album / "nan.wav", broken, 44100, subtype="FLOAT")
    soundfile.write(album / "none.wav", noise(0), 44100)
    soundfile.write(album / "point.wav", noise(1), 44100)
    soundfile.write(album / "silent.wav", np.zeros((5000, 2)), 44100)
    soundfile.write(album / "six.wav", noise(5000, 6), 44100)
    soundfile.write(album / "fine.wav", noise(9600), 192000)
    (album / "text.wav").write_text("no music")
    (album / "empty.mp3").touch()
    soundfile.write(album / "source.mp3", noise(44100), 44100)
    (album / "source.mp3").rename(album / "mislabelled.wav")
    whole = (album / "one.wav").read_bytes()
    (album / "cut.wav").write_bytes(whole[: len(whole) // 2])
    for name in ("mono.flac", "live/one.ogg"):
        whole = (album / name).read_bytes()
        (album / name).write_bytes(whole[: len(whole) // 2])
    (tmp_path / "nothing").mkdir()

    result = separate(album, tmp_path / "gone", tmp_path / "nothing", "--out", out, "--stems", "vocals")
    assert result.returncode == 1, result.stderr
    assert files(out) == [f"{song}/vocals.wav" for song in ("fine", "mislabelled", "one", "point", "silent", "six")]
    assert not soundfile.read(out / "silent" / "vocals.wav")[0].any()
    assert soundfile.info(out / "point" / "vocals.wav").frames == 1
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    expected = {
        "nan.wav": "NaN or infinity at 0.100 s", "none.wav": "0 samples", "text.wav": "not readable as audio",
        "empty.mp3": "an empty file", "cut.wav": "truncated", "mono.flac": "", "one.ogg": "truncated",
        "gone": "no such file", "nothing": "no audio in it",
    }  # fmt: skip
    for name, words in expected.items():
        assert any(f"{name}: " in line and words in line for line in lines), (name, lines)
    assert len(lines) == len(expected)
    assert "6 separated, 0 done before, 9 failed" in result.stdout
    assert "Traceback" not in result.stderr
    assert "6 channels" in result.stdout


USAGE = {
    "nothing there": (("gone.wav",), ("gone.wav", "no such file")),
    "a folder without audio": (("{tmp}",), ("no audio in it", ".flac")),
    "an unknown stem": (("{song}", "--stems", "drums"), ("drums", "vocals,instrumental")),
    "flac of floats": (("{song}", "--format", "flac", "--subtype", "FLOAT"), ("flac", "PCM_24")),
    "a folder that is a file": (("{song}", "--out", "{song}/out"), ("song.wav", "is a file")),
    "a folder that nobody can write": (("{song}", "--out", "/proc/out"), ("/proc/out", "cannot be written")),
    "no such device": (("{song}", "--device", "abacus"), ("abacus", "cpu")),
    "no such checkpoint": (("{song}", "--checkpoint", "gone.ckpt"), ("gone.ckpt",)),
    "an overlap of 0": (("{song}", "--overlap", "0"), ("overlap is 0", "expected an integer above 0")),
    "a batch of 0": (("{song}", "--batch-size", "0"), ("batch_size is 0", "expected an integer above 0")),
    "a batch of -2": (("{song}", "--batch-size=-2"), ("batch_size is -2", "expected an integer above 0")),
    "chunks of 0 s": (("{song}", "--chunk-seconds", "0"), ("chunk_seconds is 0", "expected a number above 0")),
    "chunks of NaN s": (("{song}", "--chunk-seconds", "nan"), ("chunk_seconds is nan", "expected a number above 0")),
}


@pytest.mark.parametrize("case", USAGE)
def test_wrong_usage_is_said_in_a_line_with_status_2_and_nothing_written(
    case: str, separate: Separate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    song = tmp_path / "song.wav"
    soundfile.write(song, noise(100), 44100)
    arguments, words = USAGE[case]
    monkeypatch.chdir(tmp_path)
    result = separate(*(word.format(tmp=tmp_path / "empty", song=song) for word in arguments))
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    for word in words:
        assert word in result.stderr
    assert files(tmp_path) == ["song.wav"]


def test_stems_of_other_options_or_another_song_are_not_overwritten_unasked(separate: Separate, tmp_path: Path) -> None:
    song, out = tmp_path / "song.wav", tmp_path / "out"
    soundfile.write(song, noise(5000), 44100)
    assert separate(song, "--out", out).returncode == 0
    before = (out / "song" / "vocals.wav").read_bytes()
    assert separate(song, "--out", out, "--subtype", "PCM_24").returncode == 1
    soundfile.write(song, noise(6000), 44100)
    other = separate(song, "--out", out)
    assert other.returncode == 1
    assert "vocals.wav exists" in other.stderr
    assert "--overwrite" in other.stderr
    assert (out / "song" / "vocals.wav").read_bytes() == before
    assert separate(song, "--out", out, "--overwrite").returncode == 0
    assert soundfile.info(out / "song" / "vocals.wav").frames == 6000


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stopped_run_leaves_no_partial_file(
    number: int, status: int, separate: Separate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.getsignal(number)
    monkeypatch.setattr(StemFiles, "write", lambda files, stems: os.kill(os.getpid(), number))
    song = tmp_path / "song.wav"
    soundfile.write(song, noise(5000), 44100)
    result = separate(song, "--out", tmp_path / "out")
    assert result.returncode == status
    assert "Traceback" not in result.stderr
    assert files(tmp_path) == ["song.wav"]
    assert signal.getsignal(number) == before


def test_a_killed_run_shows_no_half_written_file_and_the_next_one_clears_up(separate: Separate, tmp_path: Path) -> None:
    song, out = tmp_path / "song.wav", tmp_path / "out"
    soundfile.write(song, np.zeros((44100 * 60, 2), np.int16), 44100)
    command = [sys.executable, "-m", "wsa_lightning", "separate", str(song), "--out", str(out)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 120
        while len(files(out)) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        process.kill()
    assert files(out) == ["song/.instrumental.partial", "song/.vocals.partial"]
    soundfile.write(song, noise(5000), 44100)  # shorter, for the tests' time
    assert separate(song, "--out", out).returncode == 0
    assert files(out) == ["song/instrumental.wav", "song/vocals.wav"]


def place(given: list[str], root: Path, out: str = "out") -> dict[str, str]:
    songs, _ = find_songs([root / path for path in given], root / out)
    return {str(song.path.relative_to(root)): str(song.folder.relative_to(root / out)) for song in songs}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("x/a.wav", "x/a.mp3", "x/deep/b.WAV", "y/a.wav", "x/out/a/vocals.wav", "x/notes.txt", "z.bin"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_every_song_has_a_folder_of_its_own(tree: Path) -> None:
    assert place(["x"], tree, "x/out") == {"x/a.mp3": "a.mp3", "x/a.wav": "a.wav", "x/deep/b.WAV": "deep/b"}
    assert place(["x/a.wav", "y/a.wav"], tree) == {"x/a.wav": "x/a.wav", "y/a.wav": "y/a.wav"}
    assert place(["x/a.wav", "y", "x/a.wav"], tree) == {"x/a.wav": "x/a.wav", "y/a.wav": "y/a.wav"}
    assert place(["y/a.wav", "z.bin"], tree) == {"y/a.wav": "a", "z.bin": "z"}, (
        "a file that is named is taken at its word"
    )


def test_links_that_lead_round_in_a_circle_are_not_followed(tree: Path) -> None:
    (tree / "y" / "again").symlink_to(tree / "y")
    assert place(["y"], tree) == {"y/a.wav": "a"}

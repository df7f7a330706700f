"""``data check`` names what is wrong with a dataset, and finds nothing in a sound one."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.conftest import Run
from wsa_lightning.data.check import TrackReport, check_each, compare_tracks, track_folders
from wsa_lightning.errors import UserError

RATE = 44100


def check(root: Path) -> dict[str, TrackReport]:
    reports = list(check_each(track_folders(root), RATE, workers=2))
    compare_tracks(reports)
    return {report.name: report for report in reports}


def rewrite(path: Path, change: Callable[[np.ndarray], np.ndarray], rate: int = RATE) -> None:
    audio, _ = soundfile.read(path, dtype="float32")
    soundfile.write(path, change(audio), rate, subtype="FLOAT")


def spoil_one_sample(audio: np.ndarray) -> np.ndarray:
    audio[len(audio) // 2, 1] = np.inf
    return audio


def clip(audio: np.ndarray) -> np.ndarray:
    return np.clip(audio * 100, -1, 1)


@pytest.fixture
def tree(songs: Path, tmp_path: Path) -> Path:
    return shutil.copytree(songs, tmp_path / "tree")


def first(root: Path, subset: str = "train") -> Path:
    return min((root / subset).iterdir())


def test_composed_songs_have_no_error_and_no_warning(songs: Path) -> None:
    reports = check(songs)
    assert len(reports) == 6
    assert not [line for report in reports.values() for line in (*report.errors, *report.warnings)]
    assert all(report.seconds == 2.5 for report in reports.values())
    assert all(report.residual_db is not None and report.residual_db < -60 for report in reports.values())


SPOILERS: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "missing stem": (lambda song: (song / "bass.wav").unlink(), "errors", "bass.wav missing"),
    "another length": (lambda song: rewrite(song / "bass.wav", lambda audio: audio[:-7]), "errors", "cut or pad"),
    "another rate": (lambda song: rewrite(song / "bass.wav", lambda audio: audio, 48000), "errors", "48000 Hz"),
    "mono": (lambda song: rewrite(song / "bass.wav", lambda audio: audio[:, 0]), "errors", "mono"),
    "infinity": (
        lambda song: rewrite(song / "bass.wav", spoil_one_sample),
        "errors",
        "bass.wav contains NaN or infinity",
    ),
    "cut off": (
        lambda song: (song / "bass.wav").write_bytes((song / "bass.wav").read_bytes()[:-5000]),
        "errors",
        "truncated",
    ),
    "no audio": (lambda song: (song / "bass.wav").write_text("not audio"), "errors", "cannot be read"),
    "silent mixture": (lambda song: rewrite(song / "mixture.wav", np.zeros_like), "errors", "mixture.wav is silent"),
    "silent stem": (lambda song: rewrite(song / "bass.wav", np.zeros_like), "warnings", "silent: bass"),
    "clipping": (lambda song: rewrite(song / "mixture.wav", clip), "warnings", "clips"),
    "another mixture": (lambda song: rewrite(song / "mixture.wav", np.negative), "warnings", "sum of the stems"),
}


@pytest.mark.parametrize("case", SPOILERS)
def test_what_is_wrong_with_a_song_is_named(case: str, tree: Path) -> None:
    spoil, level, words = SPOILERS[case]
    song = first(tree)
    spoil(song)
    reports = check(tree)
    assert words in " ".join(getattr(reports[f"train/{song.name}"], level))
    assert not [name for name, report in reports.items() if report.errors and name != f"train/{song.name}"]


def test_a_test_song_among_the_training_songs_is_an_error_whatever_its_name(tree: Path) -> None:
    shutil.copytree(first(tree, "test"), tree / "train" / "another name")
    assert "test track must not be trained on" in " ".join(check(tree)[f"test/{first(tree, 'test').name}"].errors)


def test_the_same_song_twice_in_training_is_a_warning(tree: Path) -> None:
    shutil.copytree(first(tree), tree / "train" / "zzz")
    report = check(tree)["train/zzz"]
    assert not report.errors
    assert "the same audio as" in report.warnings[0]


def test_links_to_nowhere_and_to_themselves_and_loose_files_are_named(tree: Path) -> None:
    (tree / "train" / "loop").symlink_to("loop")
    (tree / "train" / "gone").symlink_to("nowhere")
    (tree / "train" / "up").symlink_to("..")
    (tree / "train" / "notes.txt").write_text("")
    reports = check(tree)
    for name in ("loop", "gone"):
        assert "a broken link or a link to itself" in reports[f"train/{name}"].errors[0]
    assert "missing" in reports["train/up"].errors[0]
    assert "not a folder" in reports["train/notes.txt"].errors[0]


def test_a_root_that_is_no_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no train and no test folder"):
        track_folders(tmp_path)
    (tmp_path / "train").mkdir()
    with pytest.raises(UserError, match="are empty"):
        track_folders(tmp_path)


def test_the_command_prints_a_table_writes_json_and_exits_with_1_for_errors(wsa: Run, tree: Path) -> None:
    (first(tree) / "bass.wav").unlink()
    rewrite(first(tree, "test") / "drums.wav", np.zeros_like)
    result = wsa("data", "check", tree, "--json_file", tree / "report.json")
    assert result.returncode == 1, result.stderr
    assert "bass.wav missing" in result.stdout
    assert "silent: drums" in result.stdout
    assert "6 tracks, 0.00 h: 1 with errors, 1 with warnings only" in result.stdout
    songs = json.loads((tree / "report.json").read_text())["songs"]
    assert [bool(song["errors"]) for song in songs] == [True, *[False] * 5]

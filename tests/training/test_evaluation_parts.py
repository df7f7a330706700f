"""The callback in this process: the teacher's cache, memory that runs out, a model without a teacher."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import soundfile
import torch

from wsa_lightning.errors import UserError
from wsa_lightning.flops import closed_form
from wsa_lightning.metrics import TrackScores
from wsa_lightning.training import MUSDBDataModule, StudentModule, TrackInfo
from wsa_lightning.training.callbacks.distillation import DistillationCallback
from wsa_lightning.training.evaluation import artifacts, card
from wsa_lightning.training.evaluation.cache import TeacherScores
from wsa_lightning.training.evaluation.callback import EvaluationCallback
from wsa_lightning.training.evaluation.outcome import Outcome


@pytest.fixture(autouse=True)
def fast_flops(monkeypatch: pytest.MonkeyPatch) -> None:
    """The closed form for fvcore's trace, which takes seconds; elsewhere they are held equal."""
    monkeypatch.setattr(card, "count", lambda network, seconds: closed_form(network.config, seconds))


class CountingStudent(StudentModule):
    """Counts separations by the number of sinks, and may run out of memory on one of them."""

    def __init__(self, fails_at: int | None = None, **options: Any) -> None:
        super().__init__(loss={"audio/l1": 1.0}, **options)
        self.separated: list[int] = []
        self.fails_at = fails_at

    def separate_song(self, mixture: Any, net: Any = None) -> Any:
        self.separated.append((net or self.net).config.sinks)
        if len(self.separated) - 1 == self.fails_at:
            raise torch.OutOfMemoryError("out of memory\nand 30 more lines")
        return super().separate_song(mixture, net)


def evaluate(
    songs: Path, folder: Path, teacher: Path | None, module: CountingStudent | None = None, **options: Any
) -> tuple[EvaluationCallback, CountingStudent]:
    evaluation = EvaluationCallback(**{"audio_songs": 0, "metrics": ("usdr", "csdr"), **options})
    distillation = DistillationCallback(None if teacher is None else str(teacher))
    trainer = L.Trainer(
        default_root_dir=folder, accelerator="cpu", callbacks=[distillation, evaluation], logger=False,
        enable_progress_bar=False, use_distributed_sampler=False, enable_model_summary=False,
    )  # fmt: skip
    module = module or CountingStudent(window=6, sinks=2)
    data = MUSDBDataModule(songs, cache=folder / "cache", chunk_seconds=0.5, workers=0)
    trainer.test(module, data, verbose=False)
    return evaluation, module


def scores(folder: Path) -> Any:
    return json.loads((folder / "test" / "scores.json").read_text())


def test_the_teacher_is_scored_once_for_all_its_students(songs: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    _, first = evaluate(songs, tmp_path, tiny_teacher)
    once = scores(tmp_path)
    assert sorted(first.separated) == [0, 0, 2, 2]
    _, second = evaluate(songs, tmp_path, tiny_teacher)
    assert second.separated == [2, 2]
    again = scores(tmp_path)
    assert again["models"] == once["models"] and again["difference"] == once["difference"]
    _, third = evaluate(songs, tmp_path, tiny_teacher, audio_songs=1)
    assert sorted(third.separated) == [0, 2, 2], "an excerpt needs the teacher's audio"
    assert len(list((tmp_path / "test" / "audio").iterdir())) == 1


def test_track(root: Path) -> TrackInfo:
    data = MUSDBDataModule(root)
    data.setup("test")
    return data.test_tracks[0]


test_track.__test__ = False  # type: ignore[attr-defined]


@pytest.mark.parametrize("changed", ["recipe", "file", "nothing"])
def test_the_cache_forgets_a_score_when_anything_it_depends_on_differs(
    changed: str, songs: Path, tmp_path: Path
) -> None:
    root = shutil.copytree(songs, tmp_path / "songs")
    track = test_track(root)
    TeacherScores(tmp_path, {"overlap": 2}).put(track, {"usdr": [1.5], "leakage": [math.nan]})
    if changed == "file":
        (root / "test" / track.name / "vocals.wav").touch()
    recipe = {"overlap": 4 if changed == "recipe" else 2}
    found = TeacherScores(tmp_path, recipe).get(test_track(root), ["usdr", "leakage"])
    if changed == "nothing":
        assert found is not None and found["usdr"] == [1.5] and math.isnan(found["leakage"][0])
    else:
        assert found is None


def test_a_song_that_runs_out_of_memory_is_that_song_alone(songs: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    evaluation, _ = evaluate(songs, tmp_path, tiny_teacher, CountingStudent(fails_at=1, window=6, sinks=2))
    first, second = sorted(path.name for path in (songs / "test").iterdir())
    assert evaluation.failed == {first: "out of memory"}
    found = scores(tmp_path)
    assert found["failed"] == [{"song": first, "error": "out of memory"}]
    assert found["models"]["student"]["scores"]["usdr"]["n"] == 1
    assert found["difference"]["usdr"]["low"] is None, "one song has no interval, and JSON no NaN"
    assert second in (tmp_path / "test" / "scores.csv").read_text()


def test_one_song_is_a_test_too(songs: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    root = shutil.copytree(songs, tmp_path / "songs")
    shutil.rmtree(max((root / "test").iterdir()))
    evaluate(root, tmp_path, tiny_teacher)
    found = scores(tmp_path)
    assert found["songs"] == found["models"]["student"]["scores"]["usdr"]["n"] == 1
    assert found["difference"]["usdr"]["low"] is None, "one song has no interval"


def test_when_every_song_fails_the_files_say_so(songs: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    class Hopeless(CountingStudent):
        def separate_song(self, mixture: Any, net: Any = None) -> Any:
            raise UserError("no")

    evaluate(songs, tmp_path, tiny_teacher, Hopeless(window=6, sinks=2))
    found = scores(tmp_path)
    assert (found["songs"], len(found["failed"])) == (0, 2)
    assert found["models"]["student"]["scores"]["usdr"] == {"median": None, "mean": None, "n": 0}


def test_a_bug_is_no_failed_song(songs: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    class Buggy(CountingStudent):
        def separate_song(self, mixture: Any, net: Any = None) -> Any:
            raise KeyError("typo")

    with pytest.raises(KeyError):
        evaluate(songs, tmp_path, tiny_teacher, Buggy(window=6, sinks=2))
    assert not (tmp_path / "test").exists() and not list(tmp_path.glob(".test*"))


def test_a_model_without_a_teacher_is_scored_alone(songs: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    module = CountingStudent(window=6, sinks=2)
    module.model_file = str(tiny_teacher)
    evaluate(songs, tmp_path, None, module)
    found = scores(tmp_path)
    assert list(found["models"]) == ["model"]
    assert found["models"]["model"]["window"] is None, "it is scored as it is"
    assert found["difference"] == found["retained"] == {}


def test_retained_is_a_ratio_of_sdrs_and_stands_only_where_a_ratio_means_something() -> None:
    def one_song(**figures: float) -> dict[str, TrackScores]:
        return {
            name: TrackScores(np.array([[value]]), *(torch.tensor(value),) * 2, torch.tensor(0))
            for name, value in figures.items()
        }

    outcome = Outcome(
        tracks=[TrackInfo("Song", 1.0)], stems=["vocals"], scored=[0], cards={}, failed={}, resamples=100,
        scores={
            "teacher": one_song(usdr=10.0, csdr=0.4, si_sdr=8.0, bleedless=7.7, leakage=-20.0),
            "student": one_song(usdr=9.0, csdr=0.8, si_sdr=-1.0, bleedless=24.3, leakage=-10.0),
        },
    )  # fmt: skip
    assert outcome.retained() == {"usdr": pytest.approx(0.9)}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"metrics": ("sdr",)}, "usdr"),
        ({"bootstrap_resamples": 3}, "evaluation.bootstrap_resamples is 3"),
    ],
)
def test_bad_options_are_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        EvaluationCallback(**options)


def test_an_excerpt_is_taken_where_the_target_is_loudest() -> None:
    audio = torch.full((2, 1000), 0.01)
    audio[:, 600:700] = 1
    cut = artifacts.loudest(audio, 100)
    assert abs(cut.start - 600) <= 10 and cut.stop - cut.start == 100
    assert artifacts.loudest(audio, 5000) == slice(0, 1000)


def test_loud_signals_are_turned_down_together_and_stems_have_folders_of_their_own(tmp_path: Path) -> None:
    tone = (0.5 * torch.sin(torch.arange(44100) * 0.05)).expand(2, 2, -1)
    audio = {"mixture": tone[0], "target": tone, "model": 4 * tone}
    artifacts.write_excerpts(tmp_path, "Song", ("vocals", "drums"), audio, 44100, 0.5)
    for stem in ("vocals", "drums"):
        place = tmp_path / "audio" / f"Song - {stem}"
        target, model = (soundfile.read(place / f"{name}.ogg")[0] for name in ("target", "model"))
        assert model.std() / target.std() == pytest.approx(4, rel=0.05)
        assert 0.9 < abs(model).max() < 1.05


def test_a_second_test_takes_the_place_of_the_first_only_when_it_is_whole(tmp_path: Path) -> None:
    for content in ("first", "second"):
        (artifacts.begin(tmp_path) / "scores.json").write_text(content)
        artifacts.finish(tmp_path)
    (artifacts.begin(tmp_path) / "scores.json").write_text("cut off")
    assert (tmp_path / "test" / "scores.json").read_text() == "second"

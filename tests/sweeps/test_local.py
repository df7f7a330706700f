"""A sweep on this machine: nothing is lost and nothing runs twice, whichever process is killed.

Most tests drive the real command with a stand-in for the run (``fake.py``); one drives real runs.
"""

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from tests.conftest import REPOSITORY
from wsa_lightning.configs import base_config
from wsa_lightning.errors import UserError
from wsa_lightning.sweeps import lock as locks
from wsa_lightning.sweeps.grid import read_sweep
from wsa_lightning.sweeps.point import Point, State
from wsa_lightning.sweeps.pool import Pool
from wsa_lightning.sweeps.process import MARK

FAKE = Path(__file__).with_name("fake.py")
DRIVER = f"""
import sys
from pathlib import Path
from wsa_lightning.commands import sweep
from wsa_lightning.errors import UserError
sweep.PROGRAM = (sys.executable, {str(FAKE)!r})
try:
    sweep.sweep(config=Path(sys.argv[1]), **eval(sys.argv[2]))
except UserError as error:
    print("error:", error, file=sys.stderr)
    sys.exit(2)
"""


class Study:
    """A sweep file over stand-ins, and the ways to run it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.file = folder, folder / "sweep.yaml"
        self.runs = folder / "runs"
        self.write()

    def write(self, windows: tuple[int | None, ...] = (4, 10), slots: int = 2, **options: Any) -> None:
        """The sweep file; options go to the stand-in."""
        content = {
            "folder": str(self.runs),
            "grid": {"model.window": list(windows)},
            "aliases": {"model.window": "w"},
            "overrides": {"trainer.accelerator": "cpu", **options},
            "local": {"slots": slots},
        }
        self.file.write_text(yaml.safe_dump(content))

    def start(self, **options: Any) -> subprocess.Popen[str]:
        """The command, in the background."""
        return subprocess.Popen(
            [sys.executable, "-c", DRIVER, str(self.file), repr(options)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self, **options: Any) -> subprocess.CompletedProcess[str]:
        """The command, until it ends."""
        process = self.start(**options)
        output, errors = process.communicate(timeout=60)
        return subprocess.CompletedProcess([], process.returncode, output, errors)

    def steps(self, name: str) -> list[int]:
        """The steps that were computed, in order; one that is there twice was computed twice."""
        path = self.runs / name / "steps.txt"
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def finished(self) -> list[str]:
        """Points with their marker."""
        return sorted(path.parents[1].name for path in self.runs.glob("*/sweep/finished.json"))

    def processes(self) -> list[psutil.Process]:
        """Living processes that work for a point of this study."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK, "").startswith(str(self.runs)):
                    found.append(process)
            except (psutil.Error, OSError):
                continue
        return found


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(tmp_path)


def wait_for(condition: Callable[[], Any], seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.02)


BOTH = ["w10_seed0", "w4_seed0"]


def test_all_points_run_are_compared_and_are_not_run_again(study: Study) -> None:
    first = study.run()
    assert first.returncode == 0, first.stderr
    assert study.finished() == BOTH
    assert (study.runs / "compare" / "compared.txt").read_text().split() == ["w4_seed0", "w10_seed0"]
    assert "val uSDR 9.00 dB, test uSDR 8.50 dB" in first.stdout
    again = study.run()
    assert again.returncode == 0
    assert "2 of 2 points are finished already" in again.stdout
    assert study.steps("w4_seed0") == study.steps("w10_seed0") == [0]


def test_the_dry_run_prints_the_very_commands_that_are_run_and_runs_nothing(study: Study) -> None:
    dry = study.run(dry_run=True)
    assert dry.returncode == 0, dry.stderr
    assert not study.runs.exists()
    assert study.run().returncode == 0
    for name in BOTH:
        for stage in ("fit", "test"):
            log = (study.runs / name / "sweep" / f"{stage}.log").read_text()
            command = next(line.removeprefix("$ ") for line in log.splitlines() if line.startswith("$ "))
            (line,) = [line for line in dry.stdout.splitlines() if command in line]
            if stage == "fit":
                (study.runs / name / "steps.txt").unlink()
                subprocess.run(line, shell=True, check=True)
                assert study.steps(name) == [0], "the pasted line computes the point"


def test_only_runs_what_it_names_and_the_rest_later(study: Study) -> None:
    assert study.run(only=["window=10"]).returncode == 0
    assert study.finished() == ["w10_seed0"]
    assert study.run().returncode == 0
    assert study.finished() == BOTH
    assert study.steps("w10_seed0") == [0]


def test_a_point_that_fails_is_tried_once_more_and_reported_and_the_rest_goes_on(study: Study) -> None:
    study.write(slots=1, **{"fail-window": 4})
    result = study.run()
    assert result.returncode == 1
    assert "failed: w4_seed0: fit ended with exit status 1: the loss is NaN" in result.stderr
    log = (study.runs / "w4_seed0" / "sweep" / "fit.log").read_text()
    assert log.count("== attempt 1, ") == log.count("== attempt 2, ") == 1
    assert log.count("$ ") == 2
    assert study.finished() == ["w10_seed0"]
    study.write()
    assert study.run(redo=True).returncode == 0
    assert study.finished() == BOTH
    assert (study.runs / "replaced" / "w4_seed0-1" / "sweep" / "fit.log").read_text() == log


def test_a_point_that_fails_once_goes_on_from_its_checkpoint(study: Study, tmp_path: Path) -> None:
    study.write(windows=(4,), steps=3, **{"fail-once": str(tmp_path / "failed")})
    result = study.run()
    assert result.returncode == 0, result.stderr
    assert "failing once" in result.stdout
    assert study.steps("w4_seed0") == [0, 1, 2]


def test_a_test_in_which_songs_failed_is_tried_once_more_and_reported(study: Study) -> None:
    study.write(windows=(4,), **{"failed-songs": 2})
    result = study.run()
    assert result.returncode == 1
    assert "failed: w4_seed0: test ended with exit status 1: error: 2 songs failed" in result.stderr
    assert (study.runs / "w4_seed0" / "sweep" / "test.log").read_text().count("$ ") == 2
    assert study.finished() == []
    assert study.steps("w4_seed0") == [0], "the training is kept"


def test_an_error_of_the_sweep_itself_lets_its_runs_save_first(study: Study) -> None:
    study.write(windows=(4,), steps=1000, seconds=0.1)

    def full_disk(_: bool) -> None:
        if study.steps("w4_seed0"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    points = read_sweep(study.file, base_config()).points
    pool = Pool(points, [{}], program=[sys.executable, str(FAKE)], watch=full_disk)
    with pytest.raises(OSError, match="No space left"):
        pool.run()
    assert json.loads((study.runs / "w4_seed0" / "progress" / "fit.json").read_text())["state"] == "stopped"
    assert study.processes() == []


def test_an_error_at_one_point_lets_the_runs_of_all_others_save_first(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    study.write(steps=1000, seconds=0.1)
    set_state = Point.set_state

    def full_disk(point: Point, state: State, **about: Any) -> None:
        if state == "running" and point.name == "w10_seed0":
            wait_for(lambda: study.steps("w4_seed0"))
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        set_state(point, state, **about)

    monkeypatch.setattr(Point, "set_state", full_disk)
    pool = Pool(read_sweep(study.file, base_config()).points, [{}, {}], program=[sys.executable, str(FAKE)], grace=10)
    with pytest.raises(OSError, match="No space left"):
        pool.run()
    assert json.loads((study.runs / "w4_seed0" / "progress" / "fit.json").read_text())["state"] == "stopped"
    assert study.processes() == []
    with locks.lock(study.runs / ".locks" / "w4_seed0.lock", "w4_seed0"):
        pass


def test_a_file_system_without_locks_is_not_taken_for_a_second_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", refuse)
    words = r"does not support POSIX locks \(No locks available\): name another folder with --out"
    with pytest.raises(UserError, match=words) as error, locks.lock(tmp_path / "sweep.lock", "runs"):
        pass
    assert not isinstance(error.value, locks.HeldError)


def test_a_point_that_runs_elsewhere_is_left_alone_and_its_state_is_not_touched(study: Study) -> None:
    study.write()
    w4, _ = read_sweep(study.file, base_config()).points
    w4.claim("fit")
    w4.set_state("running", stage="fit", note="elsewhere")
    before = w4.state
    with locks.lock(w4.lock, w4.name):
        result = study.run()
    assert result.returncode == 1
    assert f"w4_seed0 is left alone: w4_seed0 is already being run by process {os.getpid()}" in result.stderr
    assert w4.state == before
    assert study.finished() == ["w10_seed0"]


def test_a_changed_configuration_is_refused_by_key_until_redo(study: Study) -> None:
    assert study.run().returncode == 0
    study.write(steps=2, **{"model.optimizer.lr": 0.5})
    refused = study.run()
    assert refused.returncode == 2
    assert "model.optimizer.lr: 0.002 -> 0.5; steps: absent -> 2  (w4_seed0, w10_seed0)" in refused.stderr
    assert study.steps("w4_seed0") == [0]
    assert study.run(redo=True, only=["window=4"]).returncode == 0
    assert study.steps("w4_seed0") == [0, 1]
    assert study.steps("w10_seed0") == [0]


def test_a_run_made_by_hand_is_not_overwritten(study: Study) -> None:
    (study.runs / "w4_seed0").mkdir(parents=True)
    (study.runs / "w4_seed0" / "config.yaml").touch()
    refused = study.run()
    assert refused.returncode == 2
    assert "files that no sweep made" in refused.stderr


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_child_killed_or_stopped_goes_on_where_it_was(study: Study, number: signal.Signals) -> None:
    study.write(steps=6, seconds=0.2)
    sweep = study.start()
    wait_for(lambda: len(study.steps("w4_seed0")) >= 2)
    os.kill(json.loads((study.runs / "w4_seed0" / "progress" / "fit.json").read_text())["pid"], number)
    output, errors = sweep.communicate(timeout=60)
    assert sweep.returncode == 0, errors
    assert f"fit ended with {number.name}" in output
    for name in BOTH:
        assert study.steps(name) == list(range(6))


def test_a_sweep_killed_by_sigkill_takes_its_children_along_and_is_taken_up_again(study: Study) -> None:
    study.write(steps=6, seconds=0.2)
    sweep = study.start()
    wait_for(lambda: study.steps("w4_seed0") and study.steps("w10_seed0"))
    sweep.kill()
    sweep.communicate()
    again = study.run()
    assert again.returncode == 0, again.stderr
    assert study.finished() == BOTH
    for name in BOTH:
        assert study.steps(name) == list(range(6)), "a step lost, or computed by two processes"
    assert study.processes() == []


def test_what_an_earlier_sweep_left_running_is_ended_first(study: Study) -> None:
    left = subprocess.Popen(
        ["sleep", "300"], env={**os.environ, MARK: str(study.runs / "w4_seed0")}, start_new_session=True
    )
    study.write(windows=(4,))
    result = study.run()
    assert result.returncode == 0, result.stderr
    assert left.wait(5) == -signal.SIGTERM
    assert "ended 1 processes of an earlier sweep" in (study.runs / "w4_seed0" / "sweep" / "fit.log").read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_stop_the_children_and_the_same_command_goes_on(
    study: Study, number: signal.Signals
) -> None:
    study.write(windows=(4, 10, 16), steps=6, seconds=0.2)
    sweep = study.start()
    wait_for(lambda: study.steps("w4_seed0") and study.steps("w10_seed0"))
    sweep.send_signal(number)
    _, errors = sweep.communicate(timeout=30)
    assert sweep.returncode == 128 + number
    assert "the same command resumes" in errors
    assert study.processes() == []
    assert study.finished() == []
    assert study.steps("w16_seed0") == []
    assert study.run().returncode == 0
    for name in (*BOTH, "w16_seed0"):
        assert study.steps(name) == list(range(6))


def test_two_sweeps_in_one_folder_are_refused_and_a_dead_one_holds_no_lock(study: Study) -> None:
    study.write(steps=8, seconds=0.2)
    sweep = study.start()
    wait_for(lambda: study.steps("w4_seed0"))
    second = study.run()
    assert second.returncode == 2
    assert f"already being run by process {sweep.pid}" in second.stderr
    sweep.kill()
    sweep.communicate()
    assert study.run().returncode == 0


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off"])
def test_a_point_with_an_unreadable_checkpoint_starts_over_and_says_so(study: Study, content: bytes) -> None:
    study.write(windows=(4,), steps=4, seconds=0.2)
    sweep = study.start()
    wait_for(lambda: study.steps("w4_seed0"))
    sweep.send_signal(signal.SIGINT)
    sweep.communicate(timeout=30)
    (study.runs / "w4_seed0" / "checkpoints" / "last.ckpt").write_bytes(content)
    result = study.run()
    assert result.returncode == 0, result.stderr
    assert "last.ckpt is unreadable: starting over" in result.stdout
    assert study.steps("w4_seed0") == list(range(4))
    assert (study.runs / "replaced" / "w4_seed0-1" / "checkpoints" / "last.ckpt").read_bytes() == content


def test_a_failed_comparison_is_said_and_loses_nothing(study: Study) -> None:
    (study.runs / "compare").parent.mkdir()
    (study.runs / "compare").write_text("in the way")
    result = study.run()
    assert result.returncode == 1
    assert "the comparison failed with exit status 1; to repeat it: " in result.stderr
    assert study.finished() == BOTH


def test_a_new_stage_is_run_on_points_that_had_finished_without_it(study: Study) -> None:
    study.file.write_text(study.file.read_text() + "stages: [fit]\n")
    assert study.run().returncode == 0
    assert not (study.runs / "w4_seed0" / "sweep" / "test.log").exists()
    study.write()
    assert study.run().returncode == 0
    assert (study.runs / "w4_seed0" / "sweep" / "test.log").exists()
    assert study.steps("w4_seed0") == [0]


def test_a_real_run_killed_in_training_is_resumed_tested_and_marked(
    songs: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    content = {
        "folder": str(tmp_path / "runs"),
        "configs": ["configs/wsa_w16_s4.yaml", "configs/scale/tiny.yaml"],
        "grid": {"model.window": [4]},
        "aliases": {"model.window": "w"},
        "overrides": {
            "trainer.accelerator": "cpu", "trainer.max_epochs": 3, "data.root": str(songs),
            "distillation.teacher": str(tiny_teacher), "listening.enabled": False,
        },
        "local": {"threads": 1},
        "report": None,
    }  # fmt: skip
    file = tmp_path / "sweep.yaml"
    file.write_text(yaml.safe_dump(content))
    run = tmp_path / "runs" / "w4_seed0"
    sweep = subprocess.Popen(
        [sys.executable, "-m", "wsa_lightning", "sweep", "--config", str(file)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY,
    )  # fmt: skip
    wait_for((run / "checkpoints" / "last.ckpt").is_file, seconds=120)
    os.kill(json.loads((run / "progress" / "fit.json").read_text())["pid"], signal.SIGKILL)
    output, errors = sweep.communicate(timeout=240)
    assert sweep.returncode == 0, errors
    assert "fit ended with SIGKILL" in output
    assert f"--ckpt_path {run}/checkpoints/last.ckpt" in (run / "sweep" / "fit.log").read_text()
    progress = json.loads((run / "progress" / "fit.json").read_text())
    assert progress["step"] == progress["steps"] == 9
    assert progress["first_step"] >= 3
    assert json.loads((run / "sweep" / "finished.json").read_text())["stages"] == ["fit", "test"]
    assert (run / "model.safetensors").is_file()

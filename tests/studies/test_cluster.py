"""A sweep through a real Slurm: two-process DDP in every point, one point killed and requeued."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.conftest import REPOSITORY
from tests.studies.slurm_cluster import missing, slurm_cluster
from wsa_lightning.configs import base_config
from wsa_lightning.errors import UserError
from wsa_lightning.studies.cluster import make_executor, program
from wsa_lightning.studies.sweep import Sweep, read_sweep


def write_sweep(folder: Path, **keys: object) -> Path:
    path = folder / "sweep.yaml"
    content = {"folder": str(folder / "runs"), "grid": {"model.window": [4]}, "launcher": "slurm", **keys}
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def executor_of(folder: Path, monkeypatch: pytest.MonkeyPatch, **keys: object) -> str:
    """The batch script that would be submitted."""
    commands = folder / "bin"
    commands.mkdir()
    (commands / "srun").write_text("#!/bin/sh\n")
    (commands / "srun").chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
    executor = make_executor(read(folder, **keys))
    return str(executor._make_submission_file_text(executor._submitit_command_str, "x"))


def send(signal: str, point: Path, sweep: subprocess.Popen[str], environment: dict[str, str]) -> None:
    """Wait for a point's first checkpoint, then signal the batch script of its job."""
    until = time.monotonic() + 600
    while not (point / "checkpoints" / "last.ckpt").is_file():
        assert sweep.poll() is None, sweep.communicate()
        assert time.monotonic() < until, "no checkpoint in 10 minutes"
        time.sleep(0.05)
    job = json.loads((point.parent / ".jobs" / f"{point.name}.json").read_text())["job"]
    subprocess.run(["scancel", f"--signal={signal}", "--batch", job], env=environment, check=True)


def read(folder: Path, **keys: object) -> Sweep:
    return read_sweep(write_sweep(folder, **keys), base_config())


def test_everything_under_slurm_reaches_the_batch_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slurm = {
        "partition": "gpu", "account": "music", "gres": "gpu:4", "timeout_min": 90, "cpus_per_task": 6,
        "signal_delay_s": 60, "reservation": "mine", "setup": ["module load cuda"], "array_parallelism": 3,
    }  # fmt: skip
    script = executor_of(tmp_path, monkeypatch, devices=4, nodes=2, slurm=slurm)
    for words in (
        "--partition=gpu", "--account=music", "--gres=gpu:4", "--time=90", "--cpus-per-task=6", "--nodes=2",
        "--ntasks-per-node=4", "--signal=B:USR1@60", "--requeue", "--reservation=mine", "module load cuda",
    ):  # fmt: skip
        assert words in script
    assert "\nexec " in script, "Slurm signals the batch script itself, so no shell may stand in between"


def test_srun_starts_as_many_tasks_as_lightning_expects_and_gives_them_their_cores(tmp_path: Path) -> None:
    words = program(read(tmp_path, devices=4, nodes=2, slurm={"cpus_per_task": 6}).file)
    assert words[:4] == ("srun", "--nodes=2", "--ntasks-per-node=4", "--cpus-per-task=6")
    point = read(tmp_path, devices=4, nodes=2).points[0].command("fit")
    assert point[point.index("--trainer.devices") + 1] == "4"
    assert point[point.index("--trainer.num_nodes") + 1] == "2"


def test_what_follows_from_devices_and_nodes_is_refused_under_slurm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"slurm.tasks_per_node: this follows from devices and nodes"):
        executor_of(tmp_path, monkeypatch, slurm={"tasks_per_node": 2})


def test_without_slurm_the_remedy_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="no srun here; run this on a login node"):
        make_executor(read(tmp_path))


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.skipif(bool(missing()), reason=missing())
def test_two_by_two_points_of_two_processes_survive_a_kill_and_a_time_limit(
    songs: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    file = write_sweep(
        tmp_path,
        configs=["configs/wsa_w16_s4.yaml", "configs/scale/tiny.yaml"],
        grid={"model.window": [4, None], "model.sinks": [0, 2]},
        aliases={"model.window": "w", "model.sinks": "s"},
        overrides={
            "trainer.accelerator": "cpu", "trainer.strategy": "ddp", "trainer.max_epochs": 3, "data.batch_size": 1,
            "data.root": str(songs), "distillation.teacher": str(tiny_teacher), "listening.enabled": False,
        },
        devices=2,
        stages=["fit"],
        slurm={"timeout_min": 20, "poll_seconds": 0.5, "signal_delay_s": 40},
        report=None,
    )  # fmt: skip
    runs = tmp_path / "runs"
    killed, timed_out = runs / "w4_s0_seed0", runs / "wnull_s0_seed0"
    with slurm_cluster(tmp_path / "slurm") as environment:
        sweep = subprocess.Popen(
            [sys.executable, "-m", "wsa_lightning", "sweep", "--config", str(file)],
            env={**environment, "OMP_NUM_THREADS": "1"}, cwd=REPOSITORY,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            # The batch script and with it the whole step: no process has a chance to save or to say anything.
            send("KILL", killed, sweep, environment)
            # What Slurm sends before a time limit.
            send("USR1", timed_out, sweep, environment)
            output, errors = sweep.communicate(timeout=900)
        finally:
            sweep.kill()
    assert sweep.returncode == 0, errors + output
    requeued = [line for line in output.splitlines() if "is gone, requeued" in line]
    assert [line.split(":")[0] for line in requeued] == [killed.name]
    folders = sorted(path.parents[1] for path in runs.glob("*/sweep/finished.json"))
    assert [folder.name for folder in folders] == ["w4_s0_seed0", "w4_s2_seed0", "wnull_s0_seed0", "wnull_s2_seed0"]
    for folder in folders:
        log = (folder / "sweep" / "fit.log").read_text()
        attempts = 2 if folder in (killed, timed_out) else 1
        assert log.count("$ srun ") == attempts, "a point was run twice, or not at all"
        assert "Starting with 2 processes" in log
        assert json.loads((folder / "summary.json").read_text())["steps"] == 9
    for folder in (killed, timed_out):
        assert f"--ckpt_path {folder}/checkpoints/last.ckpt" in (folder / "sweep" / "fit.log").read_text()
        assert json.loads((folder / "progress" / "fit.json").read_text())["first_step"] >= 3
    assert f"{timed_out.name}: submitted (time limit; requeue 1 of at most 20)" in output

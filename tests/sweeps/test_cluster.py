"""A sweep through a real Slurm: two-process DDP in every point, one point killed and requeued."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.conftest import REPOSITORY
from tests.sweeps.slurm_cluster import missing, slurm_cluster
from wsa_lightning.atomic import write_json
from wsa_lightning.configs import base_config
from wsa_lightning.errors import UserError
from wsa_lightning.sweeps import cluster
from wsa_lightning.sweeps.cluster import make_executor, own_job, program, run_element, run_on_cluster, submit
from wsa_lightning.sweeps.grid import Sweep, read_sweep
from wsa_lightning.sweeps.lock import lock
from wsa_lightning.sweeps.point import Point


@pytest.fixture(autouse=True)
def batch_script(monkeypatch: pytest.MonkeyPatch) -> None:
    """What submitit exports in every batch script."""
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")


def write_sweep(folder: Path, **keys: object) -> Path:
    path = folder / "sweep.yaml"
    content = {"folder": str(folder / "runs"), "grid": {"model.window": [4]}, "launcher": "slurm", **keys}
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def executor_of(folder: Path, monkeypatch: pytest.MonkeyPatch, **keys: object) -> str:
    """The batch script that would be submitted."""
    stand_in(folder, monkeypatch, srun="")
    executor = make_executor(read(folder, **keys))
    slurm = executor._executor
    return str(slurm._make_submission_file_text(slurm._submitit_command_str, "x"))


def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch, **commands: str) -> None:
    """Programs of Slurm that do as little as a test needs."""
    where = folder / "bin"
    where.mkdir(exist_ok=True)
    for name, lines in commands.items():
        (where / name).write_text(f"#!/bin/sh\n{lines}\n")
        (where / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{where}:{os.environ['PATH']}")


def submitted(point: Point, job: str) -> Point:
    """As ``submit`` leaves it."""
    write_json(point.folder.parent / ".jobs" / f"{point.name}.json", {"job": job})
    point.set_state("submitted", note=f"job {job}")
    return point


def send(name: str, point: Path, sweep: subprocess.Popen[str], environment: dict[str, str]) -> None:
    """Wait for a point's first checkpoint, then signal the batch script of its job."""
    until = time.monotonic() + 600
    while not (point / "checkpoints" / "last.ckpt").is_file():
        assert sweep.poll() is None, sweep.communicate()
        assert time.monotonic() < until, "no checkpoint in 10 minutes"
        time.sleep(0.05)
    job = json.loads((point.parent / ".jobs" / f"{point.name}.json").read_text())["job"]
    subprocess.run(["scancel", f"--signal={name}", "--batch", job], env=environment, check=True)


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


@pytest.mark.parametrize(
    ("memory", "words"),
    [
        ({"mem_gb": 120}, "--mem=120GB"),
        ({"mem_gb": 0.5}, "--mem=512MB"),
        ({"mem": "64G"}, "--mem=64G"),
    ],
)
def test_memory_is_asked_for_in_the_unit_that_was_meant(
    memory: dict[str, object], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert f"#SBATCH {words}" in executor_of(tmp_path, monkeypatch, slurm=memory).splitlines()


def test_memory_that_is_no_number_of_gigabytes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"slurm.mem_gb is 64G: expected a number of GB"):
        executor_of(tmp_path, monkeypatch, slurm={"mem_gb": "64G"})


@pytest.mark.parametrize(
    ("variables", "job"),
    [
        ({"SLURM_JOB_ID": "12", "SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "3"}, "12_3"),
        ({"SLURM_JOB_ID": "15", "SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "0"}, "12_0"),
        ({"SLURM_JOB_ID": "7"}, "7"),
    ],
)
def test_an_element_names_itself_and_never_its_whole_array(
    variables: dict[str, str], job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert own_job() == job


def test_what_sbatch_refuses_is_said_in_its_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path, monkeypatch, srun="", sbatch="echo 'error: invalid partition specified: gpu' >&2; exit 1")
    sweep = read(tmp_path, slurm={"partition": "gpu"})
    with pytest.raises(UserError, match=r"sbatch refused the jobs \(error: invalid partition specified: gpu\)"):
        submit(sweep, sweep.points)
    assert sweep.points[0].state == {}


def test_a_silent_controller_is_said_once_and_takes_no_job_for_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = read(tmp_path, slurm={"poll_seconds": 0.0})
    point = submitted(sweep.points[0], "12")
    answers = iter([{"12": "RUNNING"}, None, None, {"12": "RUNNING"}, None, {"12": "COMPLETED"}])

    def list_jobs() -> dict[str, str]:
        if (jobs := next(answers)) is None:
            raise UserError("squeue failed: timed out")
        if "COMPLETED" in jobs.values():
            point.finish()
        return jobs

    monkeypatch.setattr(cluster, "list_jobs", list_jobs)
    run_on_cluster(sweep, sweep.points)
    output = capsys.readouterr().out
    assert output.count("squeue failed: timed out; still watching") == 2, "once for each time it falls silent"
    assert "gone" not in output


@pytest.mark.parametrize("state", ["FAILED", "PREEMPTED", "NODE_FAIL"])
def test_a_stopped_point_is_requeued_unless_its_job_was_cancelled(
    state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(tmp_path, monkeypatch, scontrol=f'echo "$@" >> {tmp_path}/asked')
    sweep = read(tmp_path, slurm={"poll_seconds": 0.0})
    point = submitted(sweep.points[0], "12_3")
    answers = iter(["RUNNING", state, "CANCELLED"])

    def list_jobs() -> dict[str, str]:
        point.set_state("interrupted", stage="fit")
        return {"12_3": next(answers)}

    monkeypatch.setattr(cluster, "list_jobs", list_jobs)
    run_on_cluster(sweep, sweep.points)
    assert (tmp_path / "asked").read_text().splitlines() == ["requeue 12_3"]
    assert point.state["state"] == "failed"
    assert point.state["note"] == "job 12_3 was cancelled"


def test_an_element_says_in_the_points_state_that_its_configuration_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    read(tmp_path).points[0].make_ready("fit")
    sweep = read(tmp_path, overrides={"trainer.max_epochs": 77})
    (sweep.points[0].folder / "config.yaml").touch()
    with pytest.raises(RuntimeError, match="submitted with another configuration"):
        run_element(sweep.file, sweep.points[0])
    assert sweep.points[0].state["state"] == "failed"
    assert "trainer.max_epochs: " in sweep.points[0].state["note"]


@pytest.mark.parametrize("known", ["", "11"])
def test_an_element_whose_sweep_died_before_writing_its_job_down_does_so_itself(
    known: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(tmp_path, monkeypatch, srun="exit 3", squeue="echo 11 COMPLETED; echo 12 RUNNING")
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    sweep = read(tmp_path, retries=0)
    if known:
        submitted(sweep.points[0], known)
    with pytest.raises(RuntimeError):
        run_element(sweep.file, sweep.points[0])
    assert cluster.is_alive(cluster.list_jobs(), sweep.points[0]), "the same sweep would submit the point again"


def test_an_element_runs_its_point_when_the_controller_gives_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(tmp_path, monkeypatch, srun=f"touch {tmp_path}/ran; exit 3", squeue="exit 1")
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    sweep = read(tmp_path, retries=0)
    submitted(sweep.points[0], "11")
    with pytest.raises(RuntimeError):
        run_element(sweep.file, sweep.points[0])
    assert (tmp_path / "ran").exists()


def test_a_point_that_an_earlier_job_took_while_sbatch_ran_stays_with_that_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = read(tmp_path)
    point = submitted(sweep.points[0], "10")
    books = point.folder.parent / ".jobs" / f"{point.name}.json"
    taken = f"""printf '{{"job": "11"}}' > {books}; echo Submitted batch job 12"""
    stand_in(tmp_path, monkeypatch, srun="", sbatch=taken)
    submit(sweep, sweep.points)
    assert json.loads(books.read_text()) == {"job": "11"}


def test_an_element_leaves_its_point_to_the_job_that_was_submitted_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in(tmp_path, monkeypatch, srun=f"touch {tmp_path}/ran", squeue="echo 12 RUNNING; echo 13 PENDING")
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    sweep = read(tmp_path)
    point = submitted(sweep.points[0], "13")
    before = point.state
    run_element(sweep.file, point)
    assert "was submitted again as job 13" in capsys.readouterr().out
    assert point.state == before
    assert not (tmp_path / "ran").exists()


# An element in a process of its own: POSIX locks do not hold within one, and the signal must reach no test.
ELEMENT = """
import sys
from pathlib import Path
from wsa_lightning.configs import base_config
from wsa_lightning.sweeps.cluster import run_element
from wsa_lightning.sweeps.grid import read_sweep
sweep = read_sweep(Path(sys.argv[1]), base_config())
run_element(sweep.file, sweep.points[0])
"""


def test_an_element_that_finds_its_point_running_fails_and_leaves_the_state_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    point = read(tmp_path).points[0]
    point.claim("fit")
    point.set_state("running", stage="fit", pid=1)
    before = point.state
    with lock(point.lock, point.name):
        command = [sys.executable, "-c", ELEMENT, str(tmp_path / "sweep.yaml")]
        element = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert element.returncode == 1
    assert f"RuntimeError: {point.name} is already being run by process {os.getpid()}" in element.stderr
    assert point.state == before


def test_an_element_stopped_by_sigterm_does_not_end_as_if_it_had_completed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(tmp_path, monkeypatch, srun="kill -TERM $PPID; sleep 1; exit 143", scancel="")
    point = read(tmp_path).points[0]
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    command = [sys.executable, "-c", ELEMENT, str(tmp_path / "sweep.yaml")]
    element = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert element.returncode == 128 + signal.SIGTERM, element.stderr
    assert point.state["state"] == "interrupted"


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

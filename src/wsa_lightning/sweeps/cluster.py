"""A sweep on a Slurm cluster: an array with one element per point, submitted by submitit.

The batch script of an element is one Python process, ``run_element``. It runs the point's stages one after the other
as ``srun python -m wsa_lightning ...``: srun starts ``devices`` tasks on every node, and Lightning takes its ranks from
them. So resuming, retrying and the marker are the same code as on one machine.

- ``signal_delay_s`` before the time limit Slurm sends SIGUSR1: the run saves and stops, and the element requeues
  itself.
- SIGTERM (scancel, preemption) stops the run, and the element ends with status 143. Slurm requeues a preempted job
  (``requeue`` is set).
- An element that vanished (SIGKILL, a lost node) or was stopped without being cancelled is requeued once by the
  watching ``sweep`` command.
"""

import getpass
import os
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wsa_lightning.atomic import write_json
from wsa_lightning.errors import UserError, one_line
from wsa_lightning.sweeps.grid import Sweep, SweepFile
from wsa_lightning.sweeps.point import PROGRAM, Point, read_json
from wsa_lightning.sweeps.pool import Pool
from wsa_lightning.sweeps.status import LiveTable

# Read here; everything else under `slurm` goes to submitit, or to sbatch unchanged.
OWN_OPTIONS = {"requeues": 20, "poll_seconds": 10.0, "srun": ["--kill-on-bad-exit=1"]}
DEFAULTS = {"timeout_min": 24 * 60, "signal_delay_s": 120}
DERIVED_OPTIONS = {"nodes", "tasks_per_node", "ntasks_per_node", "use_srun", "array"}
OVER = {
    *("COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "DEADLINE"),
    *("BOOT_FAIL", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED"),
}


def program(file: SweepFile) -> tuple[str, ...]:
    """The words before a stage's name on the cluster."""
    tasks = [f"--nodes={file.nodes}", f"--ntasks-per-node={file.devices}"]
    if (cores := file.slurm.get("cpus_per_task")) is not None:
        tasks.append(f"--cpus-per-task={cores}")  # since Slurm 22.05 srun does not take it from sbatch
    return ("srun", *tasks, *_own(file, "srun"), *PROGRAM)


def submit(sweep: Sweep, points: Sequence[Point]) -> None:
    """Submit points as one array, and record the job of each."""
    executor = make_executor(sweep)
    before = [job_of(point) for point in points]
    from submitit.core.utils import FailedJobError

    try:
        with executor.batch():
            jobs = [executor.submit(run_element, sweep.file, point) for point in points]
    except FailedJobError as error:
        raise UserError(f"sbatch refused the jobs ({one_line(error)}): correct the keys under slurm") from error
    for point, job, known in zip(points, jobs, before, strict=True):
        if job_of(point) not in (known, job.job_id):
            continue  # a job of an earlier sweep has claimed the point meanwhile; ours will exit
        _record_job(point, job.job_id)
        if point.state.get("state") != "running":
            point.set_state("submitted", note=f"job {job.job_id}")


def make_executor(sweep: Sweep) -> Any:
    """submitit's executor with the options of the sweep file under ``slurm``."""
    try:
        import submitit
    except ImportError as error:
        raise UserError("--launcher slurm needs submitit: pip install 'wsa-lightning[slurm]'") from error
    given = {"name": sweep.folder.name, **DEFAULTS, **sweep.file.slurm}
    if derived := DERIVED_OPTIONS & given.keys():
        raise UserError(f"slurm.{min(derived)}: this follows from devices and nodes; remove it")
    memory = given.get("mem_gb", 1)
    if not isinstance(memory, (int, float)) or not 0 < memory < float("inf"):
        raise UserError(f"slurm.mem_gb is {memory}: expected a number of GB, such as 120; use slurm.mem for 64G")
    extra = {
        "requeue": True,
        "signal": f"B:USR1@{given.pop('signal_delay_s')}",
        **given.pop("additional_parameters", {}),
    }
    known = submitit.AutoExecutor._valid_parameters() | submitit.SlurmExecutor._valid_parameters()
    options = {f"slurm_{key}": value for key, value in given.items() if key in known}
    extra |= {key: value for key, value in given.items() if key not in known | OWN_OPTIONS.keys()}
    try:
        # `exec`: Slurm signals the batch script itself, so that must be our process and not a shell around it.
        executor = submitit.AutoExecutor(
            sweep.folder / ".slurm", cluster="slurm", slurm_python=f"exec {shlex.quote(sys.executable)}"
        )
        executor.update_parameters(
            **options,
            nodes=sweep.file.nodes,
            tasks_per_node=sweep.file.devices,
            slurm_use_srun=False,
            slurm_additional_parameters=extra,
        )
    except RuntimeError as error:
        raise UserError("--launcher slurm: there is no srun here; run this on a login node of the cluster") from error
    return executor


def run_element(file: SweepFile, point: Point) -> None:
    """The batch script of one array element.

    Raises:
        RuntimeError: the point failed; Slurm records the job as failed too.
        SystemExit: with status 128 + 15, it was stopped by SIGTERM before its end.
    """
    if point.is_finished:
        return
    if not _claim(point):
        print(f"{point.name} was submitted again as job {job_of(point)}, which is queued or running: this job exits")
        return
    if changes := point.changes():
        _fail(point, f"{point.name} was submitted with another configuration: {'; '.join(changes)}")
    pool = Pool(
        [point],
        [{}],
        retries=file.retries,
        program=program(file),
        stop_signals=(signal.SIGTERM,),
        send=_signal_step,
        grace=float({**DEFAULTS, **file.slurm}["signal_delay_s"]) * 0.75,
    )
    pool.run()
    if not point.missing_stages():
        return
    if signal.SIGUSR1 in pool.interrupts:
        _requeue_self(point, int(_own(file, "requeues")))
    elif point.name in pool.reasons:
        raise RuntimeError(pool.reasons[point.name])
    elif signal.SIGTERM in pool.interrupts:
        sys.exit(128 + signal.SIGTERM)  # with status 0 Slurm would record the job as COMPLETED


def _claim(point: Point) -> bool:
    """Record that this job runs the point, unless another job that was submitted for it is queued or running.

    A ``sweep`` that is killed right after sbatch records no jobs; called again, it submits its points again. Of two
    jobs the one recorded last runs the point.
    """
    known = job_of(point)
    try:
        if known and known != own_job() and is_alive(list_jobs(), point):
            return False
    except UserError as error:
        # A busy controller says nothing about the other job; the point's lock keeps two from running it at once.
        print(f"{error}; continuing")
    _record_job(point, own_job())
    return True


def _fail(point: Point, note: str) -> None:
    point.set_state("failed", note=note)
    raise RuntimeError(note)


def own_job() -> str:
    """The job this process runs in, as Slurm's commands expect it.

    In an array, the SLURM_JOB_ID of one element is also the id of the array, and alone it would mean all elements.
    """
    import submitit

    return str(submitit.JobEnvironment().job_id)


def _signal_step(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Signal the tasks of the running step; srun itself would kill them at SIGTERM and not forward it."""
    subprocess.run(["scancel", f"--signal={number.name[3:]}", own_job()], check=False)


def _requeue_self(point: Point, most: int) -> None:
    """At the time limit: return to the queue, unless this has happened too often."""
    count = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
    if count >= most:
        _fail(point, f"requeued {count} times, slurm.requeues allows no more")
    point.set_state("submitted", note=f"time limit; requeue {count + 1} of at most {most}")
    subprocess.run(["scontrol", "requeue", own_job()], check=True)
    time.sleep(3600)  # until Slurm ends this process


def run_on_cluster(sweep: Sweep, points: Sequence[Point]) -> None:
    """Submit what is not in the queue yet, and watch until all have finished or failed.

    Ctrl-C ends the watching only; the same command continues it.
    """
    jobs = list_jobs()
    if missing := [point for point in points if not is_alive(jobs, point)]:
        submit(sweep, missing)
    seconds = float(_own(sweep.file, "poll_seconds"))
    requeued: Counter[str] = Counter()
    silent = False
    with LiveTable(points, f"{sweep.folder} on the cluster (Ctrl-C stops watching, not the jobs)") as table:
        watched = list(points)
        while watched:
            before = time.monotonic()
            while time.monotonic() - before < seconds:
                table.draw()
                time.sleep(min(0.5, seconds))
            try:
                jobs, silent = list_jobs(), False
            except UserError as error:
                # A busy controller says nothing about the jobs: none counts as lost until it answers.
                if not silent:
                    table.console.print(f"{error}; still watching", soft_wrap=True, markup=False, highlight=False)
                silent = True
                watched = [p for p in watched if not p.is_finished]
                continue
            watched = [p for p in watched if not _is_over(p, jobs, requeued, sweep.file.retries)]


def _is_over(point: Point, jobs: dict[str, str], requeued: Counter[str], retries: int) -> bool:
    """Whether a point's job has ended for good; one that vanished is requeued."""
    if is_alive(jobs, point):
        return False
    job, state = job_of(point), point.state.get("state")
    if point.is_finished or state == "failed":
        return True
    if jobs.get(job) == "CANCELLED":
        point.set_state("failed", note=f"job {job} was cancelled")
        return True
    note = f"job {job} was stopped" if state == "interrupted" else f"job {job} is gone"
    if requeued[point.name] < retries:
        requeued[point.name] += 1
        done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            point.set_state("submitted", note=f"{note}, requeued")
            return False
        note += f", and cannot be requeued ({done.stderr.strip()})"
    point.set_state("failed", note=f"{note}; its output is in {point.folder.parent / '.slurm'}")
    return True


def list_jobs() -> dict[str, str]:
    """State of this user's jobs that Slurm still knows, by job id (array elements as ``12_3``)."""
    command = ["squeue", "--noheader", "--array", "--states=all", f"--user={getpass.getuser()}", "--format=%i %T"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except FileNotFoundError as error:
        raise UserError("--launcher slurm: there is no squeue here; run this on a login node") from error
    except subprocess.CalledProcessError as error:
        raise UserError(f"squeue failed: {error.stderr.strip()}") from error
    return dict(line.split(maxsplit=1) for line in listed.splitlines() if line.strip())


def is_alive(jobs: dict[str, str], point: Point) -> bool:
    """Whether a point's job is queued or running."""
    return jobs.get(job_of(point), "COMPLETED") not in OVER


def job_of(point: Point) -> str:
    """The id of the job recorded last for a point, by the ``sweep`` or by the job itself; empty if there is none."""
    return str(read_json(_job_file(point)).get("job", ""))


def _record_job(point: Point, job: str) -> None:
    write_json(_job_file(point), {"job": job})


def _job_file(point: Point) -> Path:
    return point.folder.parent / ".jobs" / f"{point.name}.json"


def _own(file: SweepFile, key: str) -> Any:
    return file.slurm.get(key, OWN_OPTIONS[key])

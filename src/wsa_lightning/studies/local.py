"""A sweep on this machine: GPUs in groups, or cores divided among slots."""

import os
import signal
from collections.abc import Sequence

from wsa_lightning.errors import UserError
from wsa_lightning.studies.point import PROGRAM, Point
from wsa_lightning.studies.pool import GRACE_SECONDS, Pool, Slot
from wsa_lightning.studies.sweep import Sweep, SweepFile
from wsa_lightning.studies.table import LiveTable

CORES_PER_SLOT = 2


def run_here(
    sweep: Sweep, points: Sequence[Point], *, program: Sequence[str] = PROGRAM, grace: float = GRACE_SECONDS
) -> list[signal.Signals]:
    """Run points until all have finished or failed; returns the signals that broke in, if any."""
    slots = make_slots(sweep.file, len(points))
    with LiveTable(points, f"{sweep.folder} in {len(slots)} slots") as table:
        pool = Pool(points, slots, retries=sweep.file.retries, program=program, grace=grace, watch=table.draw)
        pool.run()
    return pool.interrupts


def make_slots(file: SweepFile, points: int) -> list[Slot]:
    """As many slots as the file says or the machine has, and not more than there are points."""
    if file.nodes > 1:
        raise UserError(f"nodes is {file.nodes}: one machine is one node; use --launcher slurm")
    gpus = [] if file.overrides.get("trainer.accelerator") == "cpu" else visible_gpus()
    if not gpus:
        cores = usable_cores()
        count = file.local.slots or max(1, cores // (CORES_PER_SLOT * file.devices))
        threads = file.local.threads or max(1, cores // (count * file.devices))
        return [Slot(_threads(threads)) for _ in range(min(count, points))]
    groups = [gpus[start : start + file.devices] for start in range(0, len(gpus), file.devices)]
    groups = [group for group in groups if len(group) == file.devices]
    if not groups:
        raise UserError(f"devices is {file.devices}, and this machine shows {len(gpus)} GPUs: lower it")
    count = file.local.slots or len(groups)
    if count > len(groups):
        raise UserError(f"local.slots is {count}: {len(gpus)} GPUs make {len(groups)} groups of {file.devices}")
    threads = file.local.threads or max(1, usable_cores() // (count * file.devices))
    slots = [Slot({"CUDA_VISIBLE_DEVICES": ",".join(group), **_threads(threads)}) for group in groups[:count]]
    return slots[:points]


def _threads(count: int) -> dict[str, str]:
    return {"OMP_NUM_THREADS": str(count), "MKL_NUM_THREADS": str(count), **_not_under_srun()}


def _not_under_srun() -> dict[str, str]:
    """Inside an allocation, keep Lightning from taking our children for tasks of srun."""
    return {"SLURM_JOB_NAME": "interactive"} if "SLURM_NTASKS" in os.environ else {}


def visible_gpus() -> list[str]:
    """GPUs that a child may be given, as CUDA_VISIBLE_DEVICES names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [gpu.strip() for gpu in named.split(",") if gpu.strip() and gpu.strip() != "-1"]
    import torch

    return [str(index) for index in range(torch.cuda.device_count())]


def usable_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

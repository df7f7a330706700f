"""A sweep on this machine: GPUs in groups, or cores divided among slots."""

import os
import signal
from collections.abc import Sequence

from wsa_lightning.errors import UserError
from wsa_lightning.machine import usable_cores
from wsa_lightning.sweeps.grid import Sweep, SweepFile
from wsa_lightning.sweeps.point import Point
from wsa_lightning.sweeps.pool import Pool
from wsa_lightning.sweeps.status import LiveTable

CORES_PER_SLOT = 2


def run_here(sweep: Sweep, points: Sequence[Point], program: Sequence[str]) -> list[signal.Signals]:
    """Run points until all have finished or failed; returns the signals that interrupted it, if any."""
    slots = make_slots(sweep.file, len(points))
    with LiveTable(points, f"{sweep.folder} in {len(slots)} slots") as table:
        pool = Pool(points, slots, retries=sweep.file.retries, program=program, watch=table.draw)
        pool.run()
    return pool.interrupts


def make_slots(file: SweepFile, points: int) -> list[dict[str, str]]:
    """The slots that the file asks for or the machine has, at most one for each point."""
    if file.nodes > 1:
        raise UserError(f"nodes is {file.nodes}: one machine is one node; use --launcher slurm")
    gpus = [] if file.overrides.get("trainer.accelerator") == "cpu" else visible_gpus()
    groups = [",".join(gpus[start : start + file.devices]) for start in range(0, len(gpus), file.devices)]
    groups = groups[: len(gpus) // file.devices]
    if gpus and not groups:
        raise UserError(f"devices is {file.devices}, and this machine shows {len(gpus)} GPUs: lower it")
    cores = usable_cores()
    count = file.local.slots or len(groups) or max(1, cores // (CORES_PER_SLOT * file.devices))
    if groups and count > len(groups):
        raise UserError(f"local.slots is {count}: {len(gpus)} GPUs make {len(groups)} groups of {file.devices}")
    threads = str(file.local.threads or max(1, cores // (count * file.devices)))
    shared = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    if "SLURM_NTASKS" in os.environ:
        shared["SLURM_JOB_NAME"] = "interactive"  # or Lightning would take our children for tasks of srun
    slots = [{"CUDA_VISIBLE_DEVICES": group, **shared} for group in groups] or [dict(shared) for _ in range(count)]
    return slots[: min(count, points)]


def visible_gpus() -> list[str]:
    """GPUs that a child may be given, as CUDA_VISIBLE_DEVICES names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [gpu.strip() for gpu in named.split(",") if gpu.strip() and gpu.strip() != "-1"]
    import torch

    return [str(index) for index in range(torch.cuda.device_count())]

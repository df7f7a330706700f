"""``sweep``: every point of a grid as a run of its own, and a comparison at the end."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from rich.console import Console

from wsa_lightning.configs import base_config
from wsa_lightning.errors import UserError
from wsa_lightning.sweeps.grid import Sweep, read_sweep, select
from wsa_lightning.sweeps.lock import lock
from wsa_lightning.sweeps.point import PROGRAM, Point, argument, shell_line
from wsa_lightning.sweeps.status import status, status_table


def sweep(
    *,
    config: Path,
    dry_run: bool = False,
    launcher: Literal["local", "slurm"] | None = None,
    only: list[str] | None = None,
    redo: bool = False,
    out: Path | None = None,
) -> None:
    """Run what is missing of a grid of runs, each an ordinary run in its own folder; then compare them.

    Args:
        config: the sweep file (docs/sweeps.md).
        dry_run: print the commands of every point, and run nothing.
        launcher: where to run, instead of the file's launcher.
        only: AXIS=VALUE[,VALUE], only the points with one of these values; repeat it to narrow the choice further.
        redo: start points over whose configuration has changed; their old folders are kept in replaced/.
        out: folder for the runs, instead of the file's folder.

    Raises:
        UserError: an invalid sweep file, a changed point without ``redo``, or a sweep that is already running.
        SystemExit: status 1 if a point failed, 128 + the signal's number if the sweep was stopped.
    """
    plan = read_sweep(config, base_config(), out)
    points = select(plan, only or [])
    runs_on = launcher or plan.file.launcher
    if dry_run:
        print(commands(plan, points, runs_on))
        return
    with lock(plan.folder / ".locks" / "sweep.lock", f"{plan.folder}"):
        settle_changes(points, redo)
        todo = [point for point in points if not point.is_finished]
        print(f"{len(points) - len(todo)} of {len(points)} points are finished already; to do: {len(todo)}", flush=True)
        if todo:
            run(plan, todo, runs_on)
        is_compared = compare_finished(plan)
        failed = [point for point in points if not point.is_finished]
        Console(soft_wrap=True).print(status_table([status(point) for point in points], f"{plan.folder}"))
        for point in failed:
            about = point.state
            log = point.log(about["stage"]) if "stage" in about else point.own
            print(f"failed: {point.name}: {about.get('note') or 'not finished'} (see {log})", file=sys.stderr)
    if failed or not is_compared:
        sys.exit(1)


def run(plan: Sweep, todo: Sequence[Point], launcher: str) -> None:
    """Run points with ``launcher``; Ctrl-C and SIGTERM end with the shell's exit status for them."""
    if launcher == "slurm":
        from wsa_lightning.sweeps.cluster import run_on_cluster

        try:
            run_on_cluster(plan, todo)
        except KeyboardInterrupt:
            print("no longer watching; the jobs continue, and the same command watches them again", file=sys.stderr)
            sys.exit(130)
        return
    from wsa_lightning.sweeps.local import run_here

    if interrupts := run_here(plan, todo, PROGRAM):
        print("stopped; the same command resumes from the last checkpoints", file=sys.stderr)
        sys.exit(128 + interrupts[0])


def settle_changes(points: Sequence[Point], redo: bool) -> None:
    """Refuse points whose folder holds another configuration, or move that folder aside."""
    changed = [(point, changes) for point in points if (changes := "; ".join(point.changes()))]
    if changed and not redo:
        names: dict[str, list[str]] = {}
        for point, changes in changed:
            names.setdefault(changes, []).append(point.name)
        lines = "\n".join(f"  {changes}  ({', '.join(concerned)})" for changes, concerned in names.items())
        raise UserError(
            f"{len(changed)} points were started with another configuration:\n{lines}\n"
            "restore it, name another folder with --out, or start these points over with --redo"
        )
    for point, _ in changed:
        with lock(point.lock, point.name):
            print(f"{point.name}: starting over; the old files are in {point.set_aside()}")


def compare_finished(plan: Sweep) -> bool:
    """Compare the finished points; returns False after reporting a failure, which leaves everything unchanged."""
    folders = [point.folder for point in plan.points if point.is_finished]
    if plan.file.report is None or not folders:
        return True
    command = compare_command(plan, folders)
    code = subprocess.run(command, check=False).returncode
    if code:
        print(f"the comparison failed with exit status {code}; to repeat it: {shell_line(command)}", file=sys.stderr)
    return code == 0


def compare_command(plan: Sweep, folders: Sequence[Path]) -> list[str]:
    """``compare`` over runs, with the options under ``report``."""
    options = {"out": str(plan.folder / "compare"), **(plan.file.report or {})}
    words = [word for key, value in options.items() for word in (f"--{key}", argument(value))]
    return [*PROGRAM, "compare", *map(str, folders), *words]


def commands(plan: Sweep, points: Sequence[Point], launcher: str) -> str:
    """Every command that would be run, a line each, to be pasted into a shell."""
    program: Sequence[str] = PROGRAM
    environment: Mapping[str, str] = {}
    if launcher == "slurm":
        from wsa_lightning.sweeps.cluster import program as cluster_program

        program = cluster_program(plan.file)
    else:
        from wsa_lightning.sweeps.local import make_slots

        slot = make_slots(plan.file, len(points))[0]
        environment = {key: value for key, value in slot.items() if key.endswith("_NUM_THREADS")}
    lines = []
    for point in points:
        missing = point.missing_stages() or ("nothing but the marker",)
        state = "finished" if point.is_finished else f"to do: {', '.join(missing)}"
        if changes := point.changes():
            state = f"refused without --redo: {'; '.join(changes)}"
        lines.append(f"# {point.name}: {state}")
        lines += [shell_line(point.command(stage, program), environment) for stage in point.stages]
    if plan.file.report is not None:
        lines += ["# at the end", shell_line(compare_command(plan, [point.folder for point in plan.points]))]
    return "\n".join(lines)

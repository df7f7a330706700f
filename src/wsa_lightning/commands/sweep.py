"""``sweep``: every point of a grid as a run of its own, and a comparison at the end."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from rich.console import Console

from wsa_lightning.configs import base_config
from wsa_lightning.errors import UserError
from wsa_lightning.studies.lock import lock
from wsa_lightning.studies.point import PROGRAM, Point, argument, shell_line
from wsa_lightning.studies.sweep import Sweep, read_sweep, select
from wsa_lightning.studies.table import status, table


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
        only: AXIS=VALUE[,VALUE], only the points that have one of these values; several narrow it further.
        redo: start points over whose configuration changed; their old files are kept aside.
        out: folder of the runs, instead of the file's folder.

    Raises:
        UserError: a sweep file that makes no sweep, a changed point without ``redo``, or a sweep that runs already.
        SystemExit: status 1 if a point failed, 128 + the signal's number if the sweep was stopped.
    """
    run_sweep(config, dry_run=dry_run, launcher=launcher, only=only or [], redo=redo, out=out)


def run_sweep(
    config: Path,
    *,
    dry_run: bool = False,
    launcher: str | None = None,
    only: Sequence[str] = (),
    redo: bool = False,
    out: Path | None = None,
    program: Sequence[str] = PROGRAM,
) -> None:
    """``sweep``, with ``program`` in front of every stage's name."""
    plan = read_sweep(config, base_config(), out)
    points = select(plan, only)
    launcher = launcher or plan.file.launcher
    if dry_run:
        print(commands(plan, points, launcher, program))
        return
    with lock(plan.folder / ".locks" / "sweep.lock", f"{plan.folder}"):
        settle_changes(points, redo)
        todo = [point for point in points if not point.is_finished]
        print(f"{len(points) - len(todo)} of {len(points)} points are finished already; to do: {len(todo)}", flush=True)
        if todo:
            run(plan, todo, launcher, program)
        reported = report(plan, program)
        failed = [point for point in points if not point.is_finished]
        Console(soft_wrap=True).print(table([status(point) for point in points], f"{plan.folder}"))
        for point in failed:
            about = point.state
            log = point.log(about["stage"]) if "stage" in about else point.own
            print(f"failed: {point.name}: {about.get('note') or 'not finished'} (see {log})", file=sys.stderr)
    if failed or not reported:
        sys.exit(1)


def run(plan: Sweep, todo: Sequence[Point], launcher: str, program: Sequence[str]) -> None:
    """Run points where ``launcher`` says; Ctrl-C and SIGTERM end with the shell's exit status for them."""
    if launcher == "slurm":
        from wsa_lightning.studies.cluster import run_on_cluster

        try:
            run_on_cluster(plan, todo)
        except KeyboardInterrupt:
            print("no longer watching; the jobs go on, and the same command watches them again", file=sys.stderr)
            sys.exit(130)
        return
    from wsa_lightning.studies.local import run_here

    if interrupts := run_here(plan, todo, program=program):
        print("stopped; the same command goes on from the last checkpoints", file=sys.stderr)
        sys.exit(128 + interrupts[0])


def settle_changes(points: Sequence[Point], redo: bool) -> None:
    """Refuse points whose folder holds another configuration, or move that folder aside."""
    changed = {point.name: point.changes() for point in points}
    changed = {name: changes for name, changes in changed.items() if changes}
    if changed and not redo:
        raise UserError(
            f"{len(changed)} points were begun with another configuration:\n{list_changes(changed)}\n"
            "put it back, name another folder with --out, or start these points over with --redo"
        )
    for point in points:
        if point.name in changed:
            with lock(point.lock, point.name):
                print(f"{point.name}: starting over; the old files are in {point.set_aside()}")


def list_changes(changed: Mapping[str, Sequence[str]]) -> str:
    """A line for each kind of change, and the points it concerns."""
    concerned: dict[str, list[str]] = {}
    for name, changes in changed.items():
        concerned.setdefault("; ".join(changes), []).append(name)
    return "\n".join(f"  {changes}  ({', '.join(names)})" for changes, names in concerned.items())


def report(plan: Sweep, program: Sequence[str]) -> bool:
    """Compare the finished points; a failure is said, and leaves everything as it is."""
    if plan.file.report is None or not (command := compare_command(plan, program)):
        return True
    code = subprocess.run(command, check=False).returncode
    if code:
        print(f"the comparison failed with exit status {code}; again: {shell_line(command)}", file=sys.stderr)
    return code == 0


def compare_command(plan: Sweep, program: Sequence[str], *, planned: bool = False) -> list[str]:
    """``compare`` over the finished points, or over all; empty if there are none."""
    folders = [str(point.folder) for point in plan.points if planned or point.is_finished]
    options = {"out": str(plan.folder / "compare"), **(plan.file.report or {})}
    if not folders:
        return []
    return [*program, "compare", *folders, *(word for key in options for word in (f"--{key}", argument(options[key])))]


def commands(plan: Sweep, points: Sequence[Point], launcher: str, program: Sequence[str]) -> str:
    """What would be run, line by line, to be pasted into a shell."""
    environment: dict[str, str] = {}
    if launcher == "slurm":
        from wsa_lightning.studies.cluster import program as cluster_program

        program = cluster_program(plan.file)
    else:
        from wsa_lightning.studies.local import make_slots

        slot = make_slots(plan.file, len(points))[0]
        environment = {key: value for key, value in slot.environment.items() if key.endswith("_NUM_THREADS")}
    lines = []
    for point in points:
        missing = () if point.is_finished else point.missing_stages() or ("nothing but the marker",)
        state = "finished" if point.is_finished else f"to do: {', '.join(missing)}"
        if changes := point.changes():
            state = f"refused without --redo: {'; '.join(changes)}"
        lines.append(f"# {point.name}: {state}")
        lines += [shell_line(point.command(stage, program), environment) for stage in point.stages]
    if plan.file.report is not None:
        lines += ["# at the end", shell_line(compare_command(plan, PROGRAM, planned=True))]
    return "\n".join(lines)

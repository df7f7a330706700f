"""Finished runs in comparable groups, with the Pareto front of each group."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from wsa_lightning.comparison.run_folders import find_runs, read_run
from wsa_lightning.comparison.runs import FinishedRun, Model, NotComparableError, Protocol


@dataclass(frozen=True)
class Group:
    """Runs scored on the same songs by the same definitions.

    Attributes:
        letter: A, B, ...; the order of the groups.
        protocol: what all its runs were scored on.
        runs: in the order in which they were found.
        models: teachers and students, best uSDR first.
        front: which of them are on the Pareto front of uSDR against FLOPs per second of audio; none of unknown cost is.
        notes: differences within the group that a reader should know.
    """

    letter: str
    protocol: Protocol
    runs: tuple[FinishedRun, ...]
    models: tuple[Model, ...]
    front: tuple[bool, ...]
    notes: tuple[str, ...]

    @property
    def title(self) -> str:
        """The protocol in one line, for tables and figures."""
        return self.protocol.describe()


@dataclass(frozen=True)
class Comparison:
    """Everything ``compare`` shows.

    Attributes:
        groups: one for each set of comparable runs.
        left_out: the reason why a run could not be read, by run.
    """

    groups: tuple[Group, ...]
    left_out: dict[str, str]

    def warnings(self) -> list[str]:
        """What a reader of the tables should know first."""
        lines = [f"left out {name}: {reason}" for name, reason in self.left_out.items()]
        if len(self.groups) > 1:
            first, *others = self.groups
            lines += [
                f"group {group.letter} ({', '.join(run.name for run in group.runs)}) is not comparable with group "
                f"{first.letter}: other {group.protocol.differences(first.protocol)}"
                for group in others
            ]
        return [*lines, *(note for group in self.groups for note in group.notes)]


def compare_runs(arguments: Sequence[str]) -> Comparison:
    """Read and group runs; see ``find_runs`` for what an argument may be."""
    comparable: list[list[FinishedRun]] = []
    left_out = {}
    for name, folder in find_runs(arguments).items():
        try:
            run = read_run(name, folder)
        except NotComparableError as error:
            left_out[name] = str(error)
        else:
            same = next((runs for runs in comparable if runs[0].protocol == run.protocol), None)
            if same is None:
                comparable.append([run])
            else:
                same.append(run)
    # The largest group first; of two equally large groups, whole songs before chunks.
    comparable.sort(key=lambda runs: (-len(runs), runs[0].protocol.split != "test"))
    groups = tuple(_group(chr(ord("A") + place), runs) for place, runs in enumerate(comparable))
    return Comparison(groups, left_out)


def pareto_front(points: Sequence[tuple[float | None, float]]) -> list[bool]:
    """Which (cost, score) no other dominates: none costs as little, scores as high, and is better in one of the two.

    A point of unknown cost is not on the front and dominates none.
    """
    known = [(cost, score) for cost, score in points if cost is not None]
    front = {
        (cost, score)
        for cost, score in known
        if not any(other != (cost, score) and other[0] <= cost and other[1] >= score for other in known)
    }
    return [point in front for point in points]


def _group(letter: str, runs: Sequence[FinishedRun]) -> Group:
    models = sorted([*_teachers(runs), *(run.model for run in runs)], key=lambda model: -model.usdr)
    points = [(model.flops_per_second, model.usdr) for model in models]
    notes = [
        f"{run.name}: {len(run.failed)} songs failed and are not in the scores ({', '.join(run.failed)})"
        for run in runs
        if run.failed
    ]
    if len({run.flops_seconds for run in runs}) > 1:
        counted = ", ".join(f"{run.name} {run.flops_seconds:g} s" for run in runs)
        notes.append(f"the FLOPs per second of audio were counted on chunks of different durations: {counted}")
    return Group(letter, runs[0].protocol, tuple(runs), tuple(models), tuple(pareto_front(points)), tuple(notes))


def _teachers(runs: Sequence[FinishedRun]) -> list[Model]:
    """Every teacher once, by its file and its score; numbered if there are several."""
    unique = {
        (run.teacher.identity, round(run.teacher.usdr, 4), run.teacher.flops_per_second): run.teacher
        for run in reversed(runs)
        if run.teacher is not None
    }
    teachers = list(unique.values())
    # The run that trained the teacher may be called teacher too.
    name = "distillation teacher" if any(run.name.startswith("teacher") for run in runs) else "teacher"
    return [
        replace(model, name=name if len(teachers) == 1 else f"{name} {place}")
        for place, model in enumerate(teachers, 1)
    ]

"""Write scores.csv and the tables of README.md from the finished points of the study's sweeps.

Points of scores.csv that are not in the folder are kept, so a study can be run in parts, on several machines.

python experiments/distillation/tabulate.py [RUNS]   (runs/distillation)
"""

import csv
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from wsa_lightning.configs import base_config
from wsa_lightning.metrics.paired import Difference, paired_difference
from wsa_lightning.sweeps.grid import label, read_sweep
from wsa_lightning.sweeps.point import Point

HERE = Path(__file__).parent
BEGIN, END = "<!-- tables: tabulate.py -->", "<!-- end -->"
SWEEPS = ("before", "control", "alone", "together_w10_s8", "together_w4_s4", "long", "deep")
METRICS = ("usdr", "csdr", "bleedless", "fullness", "leakage")
VALIDATION = "val_usdr_mean"
"""One number per run, the mean over the validation songs; scores.csv repeats it in every line of the run."""
COMPARED = ("plain", "weighted", "imitation", "layers-4-16")
"""The arms of alone.yaml that appear in the table of together_w10_s8.yaml."""
STUDENT = "wsa-w10-s8-"
"""Start of a point's label if a sweep names the student's config before the arm's."""
CHUNK_SECONDS = 2.0
COLUMNS = (*METRICS, VALIDATION)
FIGURES = {
    "val uSDR, mean": (VALIDATION, None),
    "uSDR, median (mean)": ("usdr", None),
    "uSDR - control": ("usdr", "control"),
    "uSDR - plain": ("usdr", "plain"),
    "uSDR - teacher": ("usdr", "teacher"),
    "cSDR - control": ("csdr", "control"),
    "bleedless - control": ("bleedless", "control"),
    "fullness - control": ("fullness", "control"),
    "leakage - teacher": ("leakage", "teacher"),
}
Run = tuple[str, str, int]
"""Sweep, arm and seed; a teacher is a separate run, with seed 0."""
Scores = dict[str, dict[str, float]]
"""Score by metric and song, the mean over stems; NaN if a song has none."""
TEACHERS = {"deep": "deep_teacher"}
"""The teacher of sweeps that do not use the shipped one."""


def teacher_of(sweep: str) -> Run:
    """The teacher of a sweep, as a run."""
    return TEACHERS.get(sweep, "teacher"), "teacher", 0


def read_tested(folder: Path, role: str) -> Scores:
    """Scores that ``test`` wrote for the student or the teacher."""
    scores: dict[str, dict[str, list[float]]] = {metric: {} for metric in METRICS}
    with (folder / "test" / "scores.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["model"] == role and not row["error"]:
                for metric in METRICS:
                    scores[metric].setdefault(row["song"], []).append(float(row[metric] or "nan"))
    return {metric: {song: float(np.mean(stems)) for song, stems in songs.items()} for metric, songs in scores.items()}


def read_validated(point: Point) -> float:
    """The last validation of ``fit``; NaN if a point was only tested, or validated in chunks of another length."""
    summary = point.folder / "summary.json"
    if not summary.is_file() or point.identity["options"]["data.chunk_seconds"] != CHUNK_SECONDS:
        return math.nan
    return float(json.loads(summary.read_text(encoding="utf-8"))["val/usdr_mean"])


def with_validation(scores: Scores, value: float) -> Scores:
    """The scores, with the run's validation for every song."""
    return {**scores, VALIDATION: dict.fromkeys(scores["usdr"], value)}


def finished(runs: Path) -> Iterator[tuple[Run, Scores]]:
    """Every finished point of the study, and its teacher."""
    for name in SWEEPS:
        file = HERE / f"{name}.yaml"
        folder = runs / Path(read_sweep(file, base_config()).file.folder).name
        for point in read_sweep(file, base_config(), folder).points:
            if point.is_finished:
                arm = label(point.axes.get("config", name)).removeprefix(STUDENT)
                run = (name, arm, int(point.axes["seed"]))
                yield run, with_validation(read_tested(point.folder, "student"), read_validated(point))
                yield teacher_of(name), with_validation(read_tested(point.folder, "teacher"), math.nan)


def read_kept(path: Path) -> dict[Run, Scores]:
    """Scores from earlier calls."""
    kept: dict[Run, Scores] = {}
    if path.is_file():
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                scores = kept.setdefault((row["sweep"], row["arm"], int(row["seed"])), {m: {} for m in COLUMNS})
                for metric in COLUMNS:
                    scores[metric][row["song"]] = float(row[metric] or "nan")
    return kept


def write_kept(path: Path, kept: dict[Run, Scores]) -> None:
    """Write one line per song."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["sweep", "arm", "seed", "song", *COLUMNS])
        for run, scores in kept.items():
            for song in scores["usdr"]:
                writer.writerow([*run, song, *(f"{scores[metric][song]:.4f}" for metric in COLUMNS)])


def tables_of(kept: dict[Run, Scores]) -> dict[str, tuple[dict[str, dict[int, Scores]], Run]]:
    """By title: scores by arm and seed, and the teacher. The control is the first arm of each table."""
    arms: dict[str, dict[str, dict[int, Scores]]] = {name: {} for name in SWEEPS}
    for (sweep, arm, seed), scores in kept.items():
        if sweep in arms:
            arms[sweep].setdefault(arm, {})[seed] = scores
    control, alone = arms["control"], arms["alone"]
    first = {arm: {0: seeds[0]} for arm, seeds in {**control, **alone}.items() if 0 in seeds}
    compared = {arm: alone[arm] for arm in COMPARED if arm in alone}
    tables = (
        ("Before training", "before", arms["before"]),
        ("Each alone, w 10, S 8, seed 0", "alone", first),
        ("Together, w 10, S 8", "together_w10_s8", {**control, **compared, **arms["together_w10_s8"]}),
        ("Together, w 4, S 4", "together_w4_s4", {**control, **arms["together_w4_s4"]}),
        ("Trained for longer, w 10, S 8, 450 steps", "long", arms["long"]),
        ("A teacher of four layers, w 10, S 8", "deep", arms["deep"]),
    )
    return {title: (table, teacher_of(sweep)) for title, sweep, table in tables if arms[sweep]}


def cell(figure: str, seeds: dict[int, Scores], table: dict[str, dict[int, Scores]], teacher: Scores) -> str:
    """One value of one arm: a median, or paired differences averaged over the seeds that both have."""
    metric, other = FIGURES[figure]
    if other is None:
        values = [list(scores[metric].values()) for scores in seeds.values()]
        if metric == VALIDATION:
            return "" if np.isnan(values).all() else f"{np.mean(values):.2f}"
        median, mean = (np.mean([statistic(songs) for songs in values]) for statistic in (np.nanmedian, np.nanmean))
        return f"{median:.2f} ({mean:.2f})"
    others = dict.fromkeys(seeds, teacher) if other == "teacher" else table.get(other, {})
    if seeds is others or not seeds.keys() & others.keys():
        return ""
    songs: dict[str, list[float]] = {}
    for seed in seeds.keys() & others.keys():
        for song, score in seeds[seed][metric].items():
            songs.setdefault(song, []).append(score - others[seed][metric].get(song, float("nan")))
    differences = [float(np.mean(values)) for values in songs.values()]
    found: Difference = paired_difference(differences, np.zeros(len(differences)))
    return f"{found.mean:+.2f} ({found.low:+.2f} .. {found.high:+.2f})" if found.n else ""


def markdown(title: str, table: dict[str, dict[int, Scores]], teacher: Scores) -> str:
    """One table of the README."""
    lines = [f"### {title}", "", f"| arm | seeds | {' | '.join(FIGURES)} |", "|---|---|" + "---|" * len(FIGURES)]
    for arm, seeds in table.items():
        cells = " | ".join(cell(figure, seeds, table, teacher) for figure in FIGURES)
        lines.append(f"| {arm} | {', '.join(map(str, sorted(seeds)))} | {cells} |")
    return "\n".join(lines)


def main() -> None:
    """Read the runs, write scores.csv and the tables, print the counts."""
    found = dict(finished(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("runs/distillation")))
    kept = read_kept(HERE / "scores.csv") | found
    if len({frozenset(scores["usdr"]) for scores in kept.values()}) > 1:
        sys.exit(f"{HERE / 'scores.csv'} and the runs were scored on different songs: move that file away first")
    if not any(sweep == "control" for sweep, *_ in kept):
        sys.exit("the control is not finished: run experiments/distillation/control.yaml first (README.md)")
    order = (*SWEEPS, *sorted({teacher_of(sweep)[0] for sweep in SWEEPS}, reverse=True))
    write_kept(HERE / "scores.csv", dict(sorted(kept.items(), key=lambda item: order.index(item[0][0]))))
    tables = "\n\n".join(markdown(title, table, kept[teacher]) for title, (table, teacher) in tables_of(kept).items())
    readme = HERE / "README.md"
    head, rest = readme.read_text(encoding="utf-8").split(BEGIN)
    readme.write_text(f"{head}{BEGIN}\n{tables}\n{END}{rest.split(END)[1]}", encoding="utf-8")
    for name in SWEEPS:
        new, known = (sum(run[0] == name for run in runs) for runs in (found, kept))
        print(f"{name}: {new} finished points, {known} in all")


if __name__ == "__main__":
    main()

"""Write results.csv and the tables of README.md from the finished points of the study's sweeps.

python experiments/distillation/tabulate.py [RUNS]   (runs/distillation)
"""

import csv
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from wsa_lightning.configs import base_config
from wsa_lightning.metrics.paired import Difference, paired_difference
from wsa_lightning.studies.sweep import label, read_sweep

HERE = Path(__file__).parent
BEGIN, END = "<!-- tables: tabulate.py -->", "<!-- end -->"
SWEEPS = ("alone", "together_w10_s8", "together_w4_s4")
METRICS = ("usdr", "csdr", "bleedless", "fullness", "leakage")
COLUMNS = {
    "uSDR, dB": ("usdr", None),
    "uSDR - control": ("usdr", "control"),
    "uSDR - teacher": ("usdr", "teacher"),
    "cSDR - control": ("csdr", "control"),
    "bleedless - control": ("bleedless", "control"),
    "fullness - control": ("fullness", "control"),
    "leakage - teacher": ("leakage", "teacher"),
}
Scores = dict[str, dict[str, float]]
"""Metric to song to score, the mean over its stems; NaN where a song has none."""


def read_scores(run: Path, role: str) -> Scores:
    """What ``test`` wrote of the student or of the teacher."""
    scores: dict[str, dict[str, list[float]]] = {metric: {} for metric in METRICS}
    with (run / "test" / "scores.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["model"] != role or row["error"]:
                continue
            for metric in METRICS:
                scores[metric].setdefault(row["song"], []).append(float(row[metric] or "nan"))
    return {
        metric: {song: float(np.mean(values)) for song, values in songs.items()} for metric, songs in scores.items()
    }


def finished(name: str, runs: Path) -> Iterator[tuple[str, int, Path]]:
    """(arm, seed, folder) of one sweep's finished points."""
    file = HERE / f"{name}.yaml"
    folder = runs / Path(read_sweep(file, base_config()).file.folder).name
    for point in read_sweep(file, base_config(), folder).points:
        if point.is_finished:
            yield label(point.axes.get("config", name)), int(point.axes["seed"]), point.folder


def per_song(runs: dict[int, Path], others: dict[int, Scores], metric: str) -> list[float]:
    """Student minus the other of the same seed, the mean over the seeds that both have, song by song."""
    differences: dict[str, list[float]] = {}
    for seed in runs.keys() & others.keys():
        for song, score in read_scores(runs[seed], "student")[metric].items():
            differences.setdefault(song, []).append(score - others[seed][metric].get(song, float("nan")))
    return [float(np.mean(values)) for values in differences.values()]


def row(runs: dict[int, Path], control: dict[int, Path]) -> dict[str, Difference | float]:
    """One arm: the median score, and differences over songs with intervals."""
    others = {
        "control": {seed: read_scores(folder, "student") for seed, folder in control.items()},
        "teacher": {seed: read_scores(folder, "teacher") for seed, folder in runs.items()},
    }
    cells: dict[str, Difference | float] = {}
    for column, (metric, other) in COLUMNS.items():
        if other is None:
            medians = [np.nanmedian(list(read_scores(folder, "student")[metric].values())) for folder in runs.values()]
            cells[column] = float(np.mean(medians))
        else:
            differences = per_song(runs, others[other], metric)
            cells[column] = paired_difference(differences, np.zeros(len(differences)))
    return cells


def said(cell: Difference | float) -> str:
    """``-0.31 (-0.52 .. -0.10)``, or a score."""
    if isinstance(cell, float):
        return f"{cell:.2f}"
    return f"{cell.mean:+.2f} ({cell.low:+.2f} .. {cell.high:+.2f})" if cell.n else ""


def main() -> None:
    """Read, write, say what was found."""
    runs = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("runs/distillation")
    control = {seed: folder for _, seed, folder in finished("control", runs)}
    if not control:
        sys.exit("the control is not finished: run experiments/distillation/control.yaml first (README.md)")
    tables, lines = [], []
    for name in SWEEPS:
        arms: dict[str, dict[int, Path]] = {"control": control}
        for arm, seed, folder in finished(name, runs):
            arms.setdefault(arm, {})[seed] = folder
        print(f"{name}: {sum(map(len, arms.values())) - len(control)} finished points")
        if len(arms) == 1:
            continue
        rows = {arm: row(folders, control) for arm, folders in arms.items()}
        tables.append(f"### {name}\n\n| arm | seeds | {' | '.join(COLUMNS)} |\n|---|---|{'---|' * len(COLUMNS)}")
        for arm, cells in rows.items():
            seeds = ", ".join(map(str, sorted(arms[arm])))
            tables[-1] += f"\n| {arm} | {seeds} | {' | '.join(said(cells[column]) for column in COLUMNS)} |"
            for column, cell in cells.items():
                figures = (cell, "", "", "") if isinstance(cell, float) else (cell.mean, cell.low, cell.high, cell.n)
                lines.append([name, arm, seeds, column, *figures])
    with (HERE / "results.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["sweep", "arm", "seeds", "figure", "mean", "low", "high", "songs"], *lines])
    readme = HERE / "README.md"
    head, rest = readme.read_text(encoding="utf-8").split(BEGIN)
    content = "\n\n".join(tables) or "Not run yet."
    readme.write_text(f"{head}{BEGIN}\n{content}\n{END}{rest.split(END)[1]}", encoding="utf-8")


if __name__ == "__main__":
    main()

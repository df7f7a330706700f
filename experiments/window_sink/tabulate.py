"""Write results.csv, results.png and the table of README.md from the finished points of the two sweeps.

Points of results.csv that are not in these folders are kept, so a study can be run in parts, on several machines.

python experiments/window_sink/tabulate.py [RUNS_BEFORE RUNS_AFTER]
"""

import csv
import json
import sys
from pathlib import Path
from typing import Any

import matplotlib

from wsa_lightning.configs import base_config
from wsa_lightning.sweeps.grid import label, read_sweep

matplotlib.use("Agg")
import matplotlib.pyplot as plt

HERE = Path(__file__).parent
BEGIN, END = "<!-- table: tabulate.py -->", "<!-- end -->"
SCORES = {
    "before": {"test uSDR": ("test", "test/usdr"), "test uSDR, mean": ("test", "test/usdr_mean")},
    "after": {
        "test uSDR": ("test", "test/usdr"),
        "test uSDR, mean": ("test", "test/usdr_mean"),
        "val uSDR": ("fit", "val/usdr"),
        "teacher val uSDR": ("fit", "val/teacher_usdr"),
    },
}


def collect(name: str, file: Path, folder: Path | None) -> dict[tuple[str, int, int], dict[str, float]]:
    """Scores in dB of the finished points of one sweep, by (window, sinks, seed); columns end with ``name``."""
    rows = {}
    for point in read_sweep(file, base_config(), folder).points:
        if point.is_finished:
            axes = point.axes
            key = (label(axes["model.window"]), int(axes["model.sinks"]), int(axes["seed"]))
            scores = {column: point.progress(stage).get(tag) for column, (stage, tag) in SCORES[name].items()}
            rows[key] = {f"{column} {name}": value for column, value in scores.items() if value is not None}
            summary = point.folder / "summary.json"
            if summary.is_file():
                figures = json.loads(summary.read_text(encoding="utf-8"))
                rows[key]["time attention, GFLOP in 8 s"] = figures["flops/attention"] / 1e9
    return rows


def read_results(path: Path) -> dict[tuple[str, int, int], dict[str, float]]:
    """Results of ``collect`` from earlier calls."""
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        return {
            (row.pop("window"), int(row.pop("sinks")), int(row.pop("seed"))): {
                column: float(value) for column, value in row.items() if value
            }
            for row in csv.DictReader(file)
        }


def order(key: tuple[str, int, int]) -> tuple[float, int, int]:
    """Sort key: windows by size, full attention last."""
    return (float("inf") if key[0] == "null" else int(key[0]), key[1], key[2])


def markdown(rows: dict[tuple[str, int, int], dict[str, float]], columns: list[str]) -> str:
    """The table of README.md."""
    lines = [f"| window | sinks | {' | '.join(columns)} |", "|---|---|" + "---|" * len(columns)]
    for key in sorted(rows, key=order):
        cells = [f"{rows[key][column]:.3f}" if column in rows[key] else "" for column in columns]
        lines.append(f"| {key[0]} | {key[1]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(rows: dict[tuple[str, int, int], dict[str, float]], path: Path) -> None:
    """Draw test uSDR over the window, one line per number of sinks, dashed before training; mean and median."""
    figure, panels = plt.subplots(1, 2, figsize=(10, 4.5), sharey=True, layout="constrained")
    windows = list(dict.fromkeys(key[0] for key in sorted(rows, key=order)))
    for panel, (score, title) in zip(panels, (("test uSDR, mean", "mean"), ("test uSDR", "median")), strict=True):
        for index, sinks in enumerate(sorted({key[1] for key in rows})):
            for name, style in (("before", "--"), ("after", "-")):
                points: list[Any] = [
                    (windows.index(key[0]), row[f"{score} {name}"])
                    for key, row in sorted(rows.items(), key=lambda item: order(item[0]))
                    if key[1] == sinks and f"{score} {name}" in row
                ]
                if points:
                    panel.plot(
                        *zip(*points, strict=True), style, marker="o", color=f"C{index}", label=f"S {sinks}, {name}"
                    )
        panel.set_xticks(range(len(windows)), ["full" if window == "null" else window for window in windows])
        panel.set(xlabel="window, frames of 10 ms", title=f"{title} over 8 test songs")
    panels[0].set_ylabel("uSDR, dB")
    panels[1].legend(fontsize="small", ncols=2, loc="lower right")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> None:
    """Read the runs, write results.csv, results.png and the table, print the counts."""
    folders = [Path(word) for word in sys.argv[1:]] or [None, None]
    before = collect("before", HERE / "before.yaml", folders[0])
    after = collect("after", HERE / "sweep.yaml", folders[1])
    kept = read_results(HERE / "results.csv")
    rows = {key: kept.get(key, {}) | before.get(key, {}) | after.get(key, {}) for key in {**kept, **before, **after}}
    if not rows:
        sys.exit("no finished point: run the sweeps first (README.md)")
    columns = list(dict.fromkeys(column for key in sorted(rows, key=order) for column in rows[key]))
    with (HERE / "results.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["window", "sinks", "seed", *columns])
        writer.writerows([*key, *(rows[key].get(column, "") for column in columns)] for key in sorted(rows, key=order))
    draw(rows, HERE / "results.png")
    readme = HERE / "README.md"
    head, rest = readme.read_text(encoding="utf-8").split(BEGIN)
    tail = rest.split(END)[1]
    readme.write_text(f"{head}{BEGIN}\n{markdown(rows, columns)}\n{END}{tail}", encoding="utf-8")
    print(f"{len(before)} points before and {len(after)} after fine-tuning; {len(rows)} in all")


if __name__ == "__main__":
    main()

"""Time and memory per second of audio against length: windowed and full attention, the small model, one process a case.

Full attention is left out beyond ``--full-up-to`` seconds: its time grows with the square.

Example: python benchmarks/length.py --seconds 8 30 120
"""

import argparse
from pathlib import Path
from typing import Any

from harness import Timing, in_fresh_process, show, write

ONE = """
import json, sys, time
sys.path.insert(0, {here!r})
import torch
from dataclasses import replace
from harness import peak_rss, reset_peak, synchronize
from model import DEVICE, SMALL
from wsa_lightning.models import Roformer
case, seconds = sys.argv[1], float(sys.argv[2])
model = Roformer(replace(SMALL, window=10, sinks=8) if case == "wsa" else SMALL).eval().to(DEVICE)
mixture = torch.zeros(1, 2, round(seconds * 44100), device=DEVICE).uniform_(-0.1, 0.1)
with torch.no_grad():
    model(mixture[..., :88200])
    reset_peak()
    before = peak_rss()
    for _ in range(2):  # the first is the warm-up
        synchronize()
        start = time.perf_counter()
        model(mixture)
        synchronize()
        elapsed = time.perf_counter() - start
memory = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else peak_rss() - before
print(json.dumps({{"seconds": elapsed, "memory": memory}}))
"""


def main() -> None:
    """Print the table and write ``results/length*.json``."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, nargs="+", default=[8.0, 30.0, 60.0])
    parser.add_argument("--full-up-to", type=float, default=30.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--name", default="length", help="of the JSON file")
    arguments = parser.parse_args()
    code = ONE.format(here=str(Path(__file__).parent))
    cases = [
        (case, seconds)
        for seconds in arguments.seconds
        for case in (("wsa", "full") if seconds <= arguments.full_up_to else ("wsa",))
    ]
    # In turn, so that a machine whose speed drifts slows all of them alike.
    made: dict[tuple[str, float], list[dict[str, Any]]] = {case: [] for case in cases}
    for _ in range(arguments.rounds):
        for name, seconds in cases:
            made[name, seconds].append(in_fresh_process(code, name, str(seconds)))
    rows: list[dict[str, Any]] = []
    for (name, seconds), runs in made.items():
        timing = Timing(tuple(run["seconds"] for run in runs))
        rows.append(
            {
                "case": name,
                "seconds_of_audio": seconds,
                "seconds_per_second": timing.median / seconds,
                "megabytes_per_second": max(run["memory"] for run in runs) / 1e6 / seconds,
                **timing.to_dict(),
            }
        )
    show(
        "small model, window 10, 8 sinks: cost per second of audio",
        ["case", "seconds of audio", "s per s", "MB per s", "median s", "min s"],
        [
            [
                r["case"],
                r["seconds_of_audio"],
                r["seconds_per_second"],
                r["megabytes_per_second"],
                r["median_s"],
                r["min_s"],
            ]
            for r in rows
        ],
    )
    write(arguments.name, rows)


if __name__ == "__main__":
    main()

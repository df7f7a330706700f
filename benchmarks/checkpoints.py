"""The published sizes on a CPU: what loading, converting and separating a second of audio costs in time and memory.

Weights are random, names and shapes are those of the public files (``tests/golden/keys_*.json``); every step runs
in a process of its own. Memory is the peak of the resident set over that of a process that has imported everything,
which is reported too.

Example: python benchmarks/checkpoints.py --layouts kim_melband
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from harness import RESULTS, in_fresh_process, machine, show, write

GOLDEN = Path(__file__).parents[1] / "tests" / "golden"
NAMES = ("kim_melband", "smule_mbr_win10_sink8", "viperx_bs_roformer")

PRELUDE = """
import json, sys, time
sys.path.insert(0, {benchmarks!r})
from harness import peak_rss
import torch
from wsa_lightning import checkpoints
from wsa_lightning.separation import separate
path, out = sys.argv[1:]
before, start = peak_rss(), time.perf_counter()
"""
EPILOGUE = """
print(json.dumps({{"seconds": time.perf_counter() - start, "peak_bytes": peak_rss(), "import_bytes": before}}))
"""
STEPS = {
    "load": "model = checkpoints.load(path)",
    "load, every weight read": "sum(float(p.detach().sum()) for p in checkpoints.load(path).parameters())",
    "to public": "checkpoints.save_public(checkpoints.load(path), out + '/public.ckpt')",
    "to a student, w 16, S 4": (
        "checkpoints.save(checkpoints.load(path, window=16, sinks=4), out + '/student.safetensors')"
    ),
    "separate 1 s": "separate(checkpoints.load(path), torch.randn(2, 44100), 44100)",
}


def random_checkpoint(name: str, path: Path) -> None:
    """A public file with the published names and shapes, small random weights, and a YAML."""
    shapes: dict[str, list[int]] = json.loads((GOLDEN / f"keys_{name}.json").read_text())["parameters"]
    generator = torch.Generator().manual_seed(0)
    state = {}
    for key, shape in shapes.items():
        if key.endswith("rotary_embed.freqs"):
            state[key] = 10000.0 ** -(torch.arange(0, 2 * shape[0], 2).float() / (2 * shape[0]))
        elif key.endswith("gamma"):
            state[key] = torch.ones(shape)
        else:
            state[key] = 0.02 * torch.randn(shape, generator=generator)
    torch.save(state, path)
    window = ", wsa_window_len: 10" if "sink_tokens" in shapes else ""
    path.with_suffix(".yaml").write_text(f"model: {{stft_hop_length: 441{window}}}", encoding="utf-8")


def measure(name: str, folder: Path) -> list[dict[str, Any]]:
    """Every step on one layout."""
    path = folder / f"{name}.ckpt"
    random_checkpoint(name, path)
    size = path.stat().st_size
    prelude = PRELUDE.format(benchmarks=str(Path(__file__).parent))
    rows = []
    for step, code in STEPS.items():
        figures = in_fresh_process(f"{prelude}\n{code}\n{EPILOGUE.format()}", str(path), str(folder))
        rows.append({"layout": name, "step": step, "file_bytes": size, **figures})
    return rows


def known_rows() -> list[dict[str, Any]]:
    """What an earlier run on a machine like this measured."""
    path = RESULTS / "checkpoints.json"
    known = json.loads(path.read_text()) if path.is_file() else {"machine": None, "rows": []}
    return known["rows"] if known["machine"] == machine() else []


def main() -> None:
    """Measure, print and write ``results/checkpoints.json``."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--layouts", nargs="+", default=list(NAMES), choices=NAMES)
    arguments = parser.parse_args()
    rows = [row for row in known_rows() if row["layout"] not in arguments.layouts]
    for name in arguments.layouts:
        with tempfile.TemporaryDirectory() as folder:
            rows += measure(name, Path(folder))
        written = write("checkpoints", rows)  # after each layout: a broken-off run keeps what it has
    columns = ("", "step", "file, MB", "seconds", "peak / file", "peak without imports / file")
    show("checkpoints of the published sizes", columns, [cells(row) for row in rows])
    print(written)


def cells(row: dict[str, Any]) -> tuple[object, ...]:
    """A row of the table."""
    size, peak = row["file_bytes"], row["peak_bytes"]
    return (
        row["layout"], row["step"], round(size / 1e6), row["seconds"], peak / size, (peak - row["import_bytes"]) / size,
    )  # fmt: skip


if __name__ == "__main__":
    main()

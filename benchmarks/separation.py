"""Separation, side by side: time against the public package's own pipeline, memory by length, the live form's blocks.

Examples:
    python benchmarks/separation.py peer --seconds 24 --rounds 1
    python benchmarks/separation.py memory --minutes 1 10 60
    python benchmarks/separation.py live --seconds 20
"""

import argparse
import contextlib
import io
import json
import statistics
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from harness import RESULTS, in_fresh_process, interleave, show, write

from wsa_lightning.checkpoints import load, to_public, to_student
from wsa_lightning.models import Roformer, RoformerConfig
from wsa_lightning.separation import LiveSeparator, cost_factor, separate

RATE = 44100

# A file on disk, separated to files on disk: arguments are minutes and a folder; prints the peak memory.
MEMORY = """
import json, sys
from pathlib import Path
sys.path.insert(0, {here!r})
import soundfile, torch
from harness import peak_rss
from wsa_lightning.checkpoints import load
from wsa_lightning.separation import separate_file
minutes, folder = float(sys.argv[1]), Path(sys.argv[2])
noise = (0.1 * torch.randn(44100, 2)).numpy()
with soundfile.SoundFile(folder / "song.wav", "w", 44100, 2, "PCM_16") as file:
    for _ in range(round(60 * minutes)):
        file.write(noise)
separate_file(load("small"), folder / "song.wav", folder / "out")
samples = {{path.stem: soundfile.info(path).frames for path in (folder / "out").iterdir()}}
print(json.dumps({{"peak_mb": peak_rss() / 1e6, "samples": samples}}))
"""


def peer(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Kim-size models with the same random weights: melband-roformer-infer's pipeline at its defaults, and ours."""
    from mel_band_roformer.utils import demix_track, get_model_from_config
    from ml_collections import ConfigDict

    torch.manual_seed(0)
    teacher = Roformer(RoformerConfig(zero_dc=False)).eval()
    student = to_student(teacher, replace(teacher.config, window=10, sinks=8)).eval()
    config = ConfigDict(peer_config())
    theirs = get_model_from_config("mel_band_roformer", config).eval()
    theirs.load_state_dict(to_public(teacher), strict=True)
    song = 0.1 * torch.randn(2, round(arguments.seconds * RATE))

    def by_peer() -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            demix_track(config, theirs, song, torch.device("cpu"))

    package = f"melband-roformer-infer {version('melband-roformer-infer')}"
    cases = {
        package: by_peer,
        "ours, student w 10, S 8": lambda: separate(student, song, RATE),
        "ours, teacher": lambda: separate(teacher, song, RATE),
    }
    if not arguments.teacher:
        del cases["ours, teacher"]
    times = interleave(cases, rounds=arguments.rounds, warmup=0)
    rows = [
        {"case": name, **timing.to_dict(), "times_faster": times[package].median / timing.median}
        for name, timing in times.items()
    ]
    show(
        f"{arguments.seconds:g} s of stereo, Kim size, {torch.get_num_threads()} threads",
        ("", "s", "times faster"),
        [(row["case"], row["median_s"], row["times_faster"]) for row in rows],
    )
    return rows


def peer_config() -> dict[str, Any]:
    """The YAML that the package ships for Kim's model, as far as its pipeline reads it."""
    from importlib.resources import files

    from mel_band_roformer.inference import SafeLoaderWithTuple
    from yaml import load as load_yaml

    text = files("mel_band_roformer").joinpath("configs/config_vocals_mel_band_roformer.yaml").read_text()
    return load_yaml(text, Loader=SafeLoaderWithTuple)  # type: ignore[no-any-return]


def memory(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """The shipped student on files of growing length, a fresh process each; rows of other lengths are kept."""
    import tempfile

    peaks: dict[float, float] = {}
    for minutes in arguments.minutes:
        with tempfile.TemporaryDirectory() as folder:
            found = in_fresh_process(MEMORY.format(here=str(Path(__file__).parent)), str(minutes), folder)
        assert set(found["samples"].values()) == {round(minutes * 60) * RATE}
        peaks[minutes] = found["peak_mb"]
    kept = RESULTS / "separation_memory.json"
    if kept.is_file():
        peaks = {row["minutes"]: row["peak_mb"] for row in json.loads(kept.read_text())["rows"]} | peaks
    shortest = peaks[min(peaks)]
    rows = [{"minutes": key, "peak_mb": peaks[key], "ratio": peaks[key] / shortest} for key in sorted(peaks)]
    show(
        "peak memory of the shipped student, file to files",
        ("minutes", "peak MB", "ratio"),
        [tuple(row.values()) for row in rows],
    )
    return rows


def live(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """The shipped student, live: wall time of every push of one step against the step's own duration."""
    model, rows = load("small").eval(), []
    for step_frames in arguments.steps:
        separator = LiveSeparator(model, step_frames=step_frames)
        step = step_frames * model.config.hop_length
        song = 0.1 * torch.randn(2, round((arguments.seconds + 2) * RATE))
        times = []
        for piece in song.split(step, dim=-1):
            start = time.perf_counter()
            separator.push(piece)
            times.append(time.perf_counter() - start)
        times = times[2 * RATE // step :]  # until the caches are full
        rows.append(
            {
                "step_ms": 1000 * step / RATE,
                "latency_ms": separator.latency_ms,
                "mean_ms": 1000 * statistics.mean(times),
                "p99_ms": 1000 * statistics.quantiles(times, n=100)[98],
                "x_real_time": step / RATE / statistics.mean(times),
            }
        )
    show(
        f"shipped student, live, {torch.get_num_threads()} threads",
        ("step ms", "late ms", "mean ms", "p99 ms", "x real time"),
        [tuple(row.values()) for row in rows],
    )
    return rows


def main() -> None:
    """Run one of the three and write results/separation_NAME.json."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    kinds = parser.add_subparsers(required=True, dest="kind")
    against = kinds.add_parser("peer", help=peer.__doc__)
    against.add_argument("--seconds", type=float, default=24.0)
    against.add_argument("--rounds", type=int, default=1)
    against.add_argument("--teacher", action="store_true", help="time our full-attention teacher as well")
    against.set_defaults(run=peer)
    lengths = kinds.add_parser("memory", help=memory.__doc__)
    lengths.add_argument("--minutes", type=float, nargs="+", default=[1, 10, 60])
    lengths.set_defaults(run=memory)
    blocks = kinds.add_parser("live", help=live.__doc__)
    blocks.add_argument("--seconds", type=float, default=20.0)
    blocks.add_argument("--steps", type=int, nargs="+", default=[4, 8, 16])
    blocks.set_defaults(run=live)
    arguments = parser.parse_args()
    print(f"cost factor of the paper's student: {cost_factor(RoformerConfig(window=10, sinks=8)):.3f}")
    write(f"separation_{arguments.kind}", arguments.run(arguments))


if __name__ == "__main__":
    main()

"""All metrics of a song of 4 minutes, and cSDR against museval on the same song, in one process.

Example: python benchmarks/metrics.py --seconds 240 --museval-seconds 240

museval (importing it needs ffmpeg) computes its distortion filters besides, which no SDR needs; its time is taken on
``--museval-seconds`` of the same song, and ours on the same cut.
"""

import argparse
import warnings

import torch
from harness import Timing, interleave, show, write

from wsa_lightning.metrics import csdr, score_track

RATE = 44100


def main() -> None:
    """Print a table and write ``results/metrics.json``."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=240.0)
    parser.add_argument("--museval-seconds", type=float, default=240.0)
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    generator = torch.Generator().manual_seed(0)
    target, backing = (0.1 * torch.randn(2, round(RATE * arguments.seconds), generator=generator) for _ in range(2))
    mixture, estimate = target + backing, 0.95 * target + 0.1 * backing
    sources = torch.stack([estimate, mixture - estimate]), torch.stack([target, backing])

    cases = {"all metrics": lambda: score_track(estimate[None], target[None], mixture)}
    timings = interleave(cases, rounds=arguments.rounds)
    rows = [
        {"case": name, "seconds_of_audio": arguments.seconds, **timing.to_dict()} for name, timing in timings.items()
    ]

    cut = round(RATE * arguments.museval_seconds)
    ours, theirs = against_museval(*(audio[..., :cut] for audio in sources))
    rows += [
        {"case": "cSDR, two sources", "seconds_of_audio": arguments.museval_seconds, **ours.to_dict()},
        {"case": "museval v4, two sources", "seconds_of_audio": arguments.museval_seconds, **theirs.to_dict()},
    ]
    ratio = theirs.median / ours.median
    show(
        "metrics of a stereo song, one stem",
        ("", "audio, s", "median, s", "min, s"),
        [(row["case"], row["seconds_of_audio"], row["median_s"], row["min_s"]) for row in rows],
    )
    print(f"museval / cSDR: {ratio:.0f}x")
    write("metrics", {"cases": rows, "museval_over_csdr": ratio})


def against_museval(estimates: torch.Tensor, targets: torch.Tensor) -> tuple[Timing, Timing]:
    """Our cSDR and museval's frames on (sources, C, N); one round, for museval is slow."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import museval

    arrays = [audio.transpose(1, 2).double().numpy() for audio in (targets, estimates)]
    timings = interleave(
        {"ours": lambda: csdr(estimates, targets), "museval": lambda: museval.evaluate(*arrays)}, rounds=1, warmup=0
    )
    return timings["ours"], timings["museval"]


if __name__ == "__main__":
    main()

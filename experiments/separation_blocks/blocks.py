"""Score ways to cut a song into blocks, for the shipped student and teacher.

Example: python experiments/separation_blocks/blocks.py --repeat 1
"""

import argparse

import torch
from torch import Tensor

from wsa_lightning.checkpoints import load
from wsa_lightning.composer import compose
from wsa_lightning.data.embedded import embedded_root
from wsa_lightning.data.splits import split
from wsa_lightning.metrics import usdr
from wsa_lightning.models import Roformer
from wsa_lightning.separation import plan_blocks, separate

RATE = 44100
# (chunk_seconds, overlap); overlap None is the default of `separate`, 1000 s is the whole song at once.
CUTS: dict[str, list[tuple[float, int | None]]] = {
    "small": [
        (0.5, None),
        (1, None),
        (2, None),
        (4, None),
        (8, None),
        (16, None),
        (2, 1),
        (2, 2),
        (2, 4),
        (1000, None),
    ],
    "small-teacher": [(2, 1), (2, 2), (2, 4), (4, 2), (8, 2), (1000, 1)],
}


SEED = 7  # no model was trained on these songs


def songs(repeat: int, composed: int = 0) -> list[tuple[Tensor, Tensor]]:
    """(mixture, vocals), each (2, N), of test songs or newly composed ones; each joins ``repeat`` songs."""
    wanted = ("mixture", "vocals")
    if composed:
        stems = (compose(SEED, index, 12.0) for index in range(composed))
        read = [tuple(torch.from_numpy(song[stem].T / 32768).float() for stem in wanted) for song in stems]
    else:
        tracks = split(embedded_root(), "test")
        read = [tuple(torch.from_numpy(track.read(stem, 0, track.samples)) for stem in wanted) for track in tracks]
    groups = [read[first : first + repeat] for first in range(0, len(read), repeat)]
    return [tuple(torch.cat(stems, dim=-1) for stems in zip(*group, strict=True)) for group in groups]  # type: ignore[misc]


def score(model: Roformer, tests: list[tuple[Tensor, Tensor]], chunk: float, overlap: int | None) -> list[float]:
    """uSDR of every song, in dB."""
    return [
        usdr(separate(model, mixture, RATE, chunk_seconds=chunk, overlap=overlap)[0], vocals)
        for mixture, vocals in tests
    ]


def main() -> None:
    """Print one row per way to cut: cost, uSDR, and the difference to the whole song at once."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--repeat", type=int, default=1, help="join this many songs of 12 s to one; 8 gives one of 96 s"
    )
    parser.add_argument("--models", nargs="+", default=list(CUTS))
    parser.add_argument(
        "--chunks", nargs="+", type=float, help="only chunks of these lengths in seconds, and the whole song"
    )
    parser.add_argument("--composed", type=int, default=0, help="use this many new songs instead of the 8 test songs")
    arguments = parser.parse_args()
    tests = songs(arguments.repeat, arguments.composed)
    print(f"{len(tests)} songs of {tests[0][0].shape[-1] / RATE:g} s")
    for name in arguments.models:
        model = load(name).eval()
        cuts = [
            cut for cut in CUTS[name] if not arguments.chunks or cut[0] in arguments.chunks or cut == CUTS[name][-1]
        ]
        scores = {cut: torch.tensor(score(model, tests, *cut)) for cut in cuts}
        whole = scores[cuts[-1]]
        for (chunk, overlap), found in scores.items():
            plan = plan_blocks(model.config, chunk, overlap)
            print(
                f"{name:<14} chunk {chunk:>6g} s, overlap {overlap or 'halo'!s:<5} "
                f"cost {plan.length / plan.step:5.2f}  "
                f"mean {found.mean():6.3f} dB  median {found.quantile(0.5):6.3f} dB  "
                f"minus whole {(found - whole).mean():+.3f} dB (largest {(found - whole).abs().max():.3f})",
                flush=True,
            )


if __name__ == "__main__":
    main()

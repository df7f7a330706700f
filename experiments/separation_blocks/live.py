"""Score the shipped student live and offline, by how much of the past the sinks see.

Example: python experiments/separation_blocks/live.py --memories 0.01 1 2 8
"""

import argparse

import torch
from blocks import RATE, songs
from torch import Tensor

from wsa_lightning.checkpoints import load
from wsa_lightning.metrics import usdr
from wsa_lightning.models import Roformer
from wsa_lightning.separation import LiveSeparator, separate


def live(model: Roformer, mixture: Tensor, memory: float, step_frames: int) -> Tensor:
    """The vocals (2, N), computed from pieces of one second."""
    separator = LiveSeparator(model, memory_seconds=memory, step_frames=step_frames)
    pieces = [separator.push(piece) for piece in mixture.split(RATE, dim=-1)]
    return torch.cat([*pieces, separator.flush()], dim=-1)[0]


def main() -> None:
    """Print one row per memory: mean and median uSDR, and the difference to offline."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--memories", nargs="+", type=float, default=[0.01, 0.5, 1, 2, 4, 8])
    parser.add_argument("--step-frames", type=int, default=8)
    arguments = parser.parse_args()
    model, tests = load("small").eval(), songs(1)
    offline = torch.tensor([usdr(separate(model, mixture, RATE)[0], vocals) for mixture, vocals in tests])
    print(f"offline            mean {offline.mean():6.3f} dB  median {offline.quantile(0.5):6.3f} dB", flush=True)
    for memory in arguments.memories:
        found = torch.tensor(
            [usdr(live(model, mixture, memory, arguments.step_frames), vocals) for mixture, vocals in tests]
        )
        print(
            f"sinks see {memory:5g} s  mean {found.mean():6.3f} dB  median {found.quantile(0.5):6.3f} dB  "
            f"minus offline {(found - offline).mean():+.3f} dB",
            flush=True,
        )


if __name__ == "__main__":
    main()

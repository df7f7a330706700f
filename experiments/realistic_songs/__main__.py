"""Make realistic songs: ``python -m experiments.realistic_songs ROOT``."""

import argparse
import os
import sys
from pathlib import Path

from wsa_lightning.errors import UserError


def main() -> int:
    """Read the options and make the set."""
    parser = argparse.ArgumentParser(prog="python -m experiments.realistic_songs", description=__doc__)
    parser.add_argument("root", type=Path, help="folder to fill; finished songs in it are kept")
    parser.add_argument("--train", type=int, default=352, help="songs in ROOT/train, a seventh of which validate (352)")
    parser.add_argument("--test", type=int, default=40, help="songs in ROOT/test (40)")
    parser.add_argument("--seconds", type=float, default=30.0, help="length of a song (30)")
    parser.add_argument("--seed", type=int, default=0, help="the collection (0)")
    parser.add_argument("--processes", type=int, default=2, help="songs made at once (2)")
    options = parser.parse_args()
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    from .dataset import make_set

    try:
        failed = make_set(
            options.root,
            train=options.train,
            test=options.test,
            seconds=options.seconds,
            seed=options.seed,
            processes=options.processes,
        )
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

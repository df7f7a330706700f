"""Put a finished run's model into the package, in half precision, with its scores in the file.

Example: python experiments/shipped/ship.py runs/teacher small-teacher
"""

import argparse
import json
from pathlib import Path

import torch

from wsa_lightning.checkpoints import load, save
from wsa_lightning.checkpoints.model_files import ASSETS, SHIPPED


def main() -> None:
    """Copy RUN/model.safetensors to the package's assets under the file name of NAME."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of a finished fit")
    parser.add_argument("name", choices=sorted(SHIPPED), help="the name to load it by")
    arguments = parser.parse_args()
    target = ASSETS / SHIPPED[arguments.name]
    summary = (arguments.run / "summary.json").read_text(encoding="utf-8")
    save(load(arguments.run / "model.safetensors"), target, dtype=torch.float16, notes={"summary": summary})
    print(f"{target} {target.stat().st_size / 1e6:.2f} MB {json.loads(summary)}")


if __name__ == "__main__":
    main()

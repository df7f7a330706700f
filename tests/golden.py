"""The golden recipes: public-layout models with deterministic parameters, their inputs and outputs."""

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

FOLDER = Path(__file__).parent / "golden"
RECIPES = sorted(path.stem for path in FOLDER.glob("*.npz"))
KEYS = sorted(path.stem for path in FOLDER.glob("keys_*.json"))


def recipe(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / f"{name}.json").read_text())


def parameter(key: str, shape: list[int]) -> Tensor:
    if key.endswith("rotary_embed.freqs"):
        return 10000.0 ** -(torch.arange(0, 2 * shape[0], 2).float() / (2 * shape[0]))
    random = np.random.RandomState(zlib.crc32(key.encode())).standard_normal(shape).astype(np.float32)
    return torch.from_numpy(random * np.float32(0.2)) + (1.0 if key.endswith("gamma") else 0.0)


def state_dict(name: str) -> dict[str, Tensor]:
    return {key: parameter(key, shape) for key, shape in recipe(name)["parameters"].items()}


def mixture(name: str) -> Tensor:
    spec = recipe(name)["input"]
    noise = np.random.RandomState(spec["seed"]).standard_normal(spec["shape"]) * spec["amplitude"]
    return torch.from_numpy(noise.astype(np.float32))


def output(name: str) -> Tensor:
    with np.load(FOLDER / f"{name}.npz") as arrays:
        return torch.from_numpy(arrays["output"])

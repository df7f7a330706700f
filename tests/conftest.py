"""What many tests need: a few seconds of embedded songs, a teacher of a few thousand parameters, the real CLI."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

from wsa_lightning.checkpoints import save
from wsa_lightning.data.songs import make_songs
from wsa_lightning.models import Roformer, RoformerConfig

REPOSITORY = Path(__file__).parents[1]
TINY = RoformerConfig(dim=16, depth=1, heads=2, dim_head=8, mask_hidden_layers=1, mlp_expansion_factor=1)

# How fast a busy machine draws and runs examples says nothing about the code.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def songs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four songs to train and validate, two to test, 2.5 s each."""
    root = tmp_path_factory.mktemp("songs")
    make_songs(root, train=4, test=2, seconds=2.5, seed=3, workers=1)
    return root


@pytest.fixture(scope="session")
def tiny_teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained teacher in our own file format."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("teacher") / "teacher.safetensors"
    save(Roformer(TINY), path)
    return path


@pytest.fixture(scope="session")
def wsa() -> Run:
    """``python -m wsa_lightning`` as a user runs it, from the repository's root."""

    def run(*arguments: object, timeout: float = 240) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "wsa_lightning", *map(str, arguments)]
        environment = {**os.environ, "COLUMNS": "200", "OMP_NUM_THREADS": "1"}
        return subprocess.run(
            command, capture_output=True, text=True, cwd=REPOSITORY, timeout=timeout, env=environment, check=False
        )

    return run

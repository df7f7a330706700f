"""What many tests need: a few seconds of embedded songs, a teacher of a few thousand parameters, the real CLI."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

from tests.zygote import Zygote
from wsa_lightning.checkpoints import save
from wsa_lightning.data.embedded import make_tracks
from wsa_lightning.models import Roformer, RoformerConfig
from wsa_lightning.reliability.ranks import LAUNCHER

REPOSITORY = Path(__file__).parents[1]
TINY = RoformerConfig(dim=16, depth=1, heads=2, dim_head=8, mask_hidden_layers=1, mlp_expansion_factor=1)

# How fast a busy machine draws and runs examples says nothing about the code.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

# A shell that starts the suite in the background lets it ignore Ctrl-C, and so every command that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def songs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four songs to train and validate, two to test, 2.5 s each."""
    root = tmp_path_factory.mktemp("songs")
    make_tracks(root, train=4, test=2, seconds=2.5, seed=3, workers=1)
    return root


@pytest.fixture(scope="session")
def tiny_teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained teacher in our own file format."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("teacher") / "teacher.safetensors"
    save(Roformer(TINY), path)
    return path


@pytest.fixture(scope="session")
def wsa(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """``python -m wsa_lightning`` as a user runs it, in a process of its own, from the repository's root."""
    zygote = Zygote(tmp_path_factory.mktemp("zygote"))

    def run(*arguments: object, timeout: float = 240) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "COLUMNS": "200", "OMP_NUM_THREADS": "1"}
        environment.pop(LAUNCHER, None)  # tests within this process leave it
        return zygote.run([str(argument) for argument in arguments], environment, REPOSITORY, timeout)

    yield run
    zygote.close()

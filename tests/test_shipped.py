"""The shipped models are small, load by name, and keep what their files claim."""

import pytest
import torch

from wsa_lightning.checkpoints import load
from wsa_lightning.checkpoints.model_files import ASSETS, SHIPPED
from wsa_lightning.composer import compose
from wsa_lightning.metrics import usdr
from wsa_lightning.separation import separate

SEED = 7  # songs of a collection that nobody trained on


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_model_is_at_most_6_mb(name: str) -> None:
    assert (ASSETS / SHIPPED[name]).stat().st_size <= 6e6


def test_the_student_is_the_teachers_with_a_window_and_sinks() -> None:
    teacher, student = load("small-teacher").config, load("small").config
    assert (teacher.window, teacher.sinks, student.window, student.sinks) == (None, 0, 16, 4)
    assert {**teacher.to_dict(), "window": 16, "sinks": 4} == student.to_dict()


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_model_separates_songs_it_never_heard(name: str) -> None:
    model = load(name)
    gains = []
    for index in range(3):
        song = compose(SEED, index, 6.0)
        mixture, vocals = (torch.from_numpy(song[stem].T / 32768).float() for stem in ("mixture", "vocals"))
        estimate = separate(model, mixture, 44100, chunk_seconds=2.0)[0]
        gains.append(usdr(estimate, vocals) - usdr(mixture, vocals))
    assert sorted(gains)[1] > 6

"""The data module hands Lightning the same samples whoever asks, and refuses what cannot work."""

from pathlib import Path
from typing import Any

import pytest
import torch

from wsa_lightning.errors import UserError
from wsa_lightning.training import MUSDBDataModule


def loaded(songs: Path, **options: Any) -> MUSDBDataModule:
    data = MUSDBDataModule(
        songs, **{"chunk_seconds": 0.25, "batch_size": 2, "steps_per_epoch": 3, "workers": 0, **options}
    )
    data.setup("fit")
    data.setup("test")
    return data


@pytest.mark.parametrize("workers", [1, 2])
def test_batches_do_not_depend_on_the_number_of_workers(songs: Path, workers: int) -> None:
    alone, shared = (list(loaded(songs, workers=count).train_dataloader()) for count in (0, workers))
    assert len(alone) == 3
    for one, other in zip(alone, shared, strict=True):
        assert torch.equal(one["mixture"], other["mixture"])
        assert torch.equal(one["targets"], other["targets"])


def test_another_seed_gives_other_batches(songs: Path) -> None:
    one, other = (next(iter(loaded(songs, seed=seed).train_dataloader())) for seed in (0, 1))
    assert not torch.equal(one["mixture"], other["mixture"])


def test_vocals_and_instrumental_make_the_mixture(songs: Path) -> None:
    data = loaded(songs, stems=("vocals", "instrumental"))
    for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
        batch = next(iter(loader))
        torch.testing.assert_close(batch["targets"].sum(1), batch["mixture"], rtol=0, atol=2 / 2**15)


def test_train_validation_and_test_share_no_song(songs: Path) -> None:
    data = loaded(songs)
    names = [{track.name for track in data.tracks(split)} for split in ("train", "valid", "test")]
    assert sum(map(len, names)) == len(set().union(*names)) == 6
    assert set(data.valid_songs) == names[1]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"chunk_seconds": 0.0}, "chunk_seconds"),
        ({"stems": ("kazoo",)}, "kazoo"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        MUSDBDataModule(**options)

"""Tracks that break while a run goes on: skipped with a warning up to a limit, the same samples whoever draws them."""

import logging
import shutil
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from wsa_lightning.data.dataset import ChunkDataset, MixDataset, ShardedSampler
from wsa_lightning.data.mixing import Augmentation
from wsa_lightning.data.tracks import SOURCES, Track
from wsa_lightning.errors import UserError

CHUNK = 500


def mixtures(tracks: list[Track], limit: int) -> MixDataset:
    return MixDataset(tracks, SOURCES, CHUNK, 0, Augmentation(), limit)


def test_a_vanished_track_is_drawn_around_and_warned_of_once(
    tracks: list[Track], caplog: pytest.LogCaptureFixture
) -> None:
    dataset = mixtures(tracks, limit=1)
    whole = [dataset[(0, index)] for index in range(20)]
    shutil.rmtree(tracks[1].folder)
    with caplog.at_level(logging.WARNING):
        items = [dataset[(0, index)] for index in range(20)]
    assert len(dataset.unreadable) == 1
    assert len(caplog.records) == 1
    assert tracks[1].name in caplog.text
    for before, after in zip(whole, items, strict=True):
        assert 1 not in after["places"][:, 0]
        assert after["mixture"].isfinite().all()
        if 1 not in before["places"][:, 0]:
            assert torch.equal(before["mixture"], after["mixture"]), "a sample of other tracks has changed"


def test_the_samples_around_a_broken_track_do_not_depend_on_workers_or_history(tracks: list[Track]) -> None:
    (tracks[0].folder / "drums.wav").write_bytes(b"")

    def drawn(workers: int, start: int = 0) -> list[torch.Tensor]:
        loader = DataLoader(mixtures(tracks, 1), 2, sampler=ShardedSampler(12, start=start), num_workers=workers)
        return [batch["mixture"] for batch in loader]

    alone = drawn(0)
    for one, other in ((alone, drawn(2)), (alone[3:], drawn(0, start=6))):
        assert len(one) == len(other)
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_more_unreadable_tracks_than_the_limit_are_an_error_that_names_the_setting(tracks: list[Track]) -> None:
    dataset = mixtures(tracks, limit=1)
    for track in tracks[:2]:
        shutil.rmtree(track.folder)
    with pytest.raises(UserError, match=r"2 of 3 tracks unreadable, data.max_unreadable is 1"):
        [dataset[(0, index)] for index in range(50)]


def test_when_every_track_is_gone_the_limit_does_not_matter(tracks: list[Track]) -> None:
    dataset = mixtures(tracks, limit=10)
    for track in tracks:
        shutil.rmtree(track.folder)
    with pytest.raises(UserError, match="3 of 3"):
        dataset[(0, 0)]


def test_workers_count_the_tracks_of_all_workers(tracks: list[Track]) -> None:
    dataset = mixtures(tracks, limit=2)
    shutil.rmtree(tracks[0].folder)
    list(DataLoader(dataset, 2, sampler=ShardedSampler(40), num_workers=2))
    assert len(dataset.unreadable) == 1


def test_an_unreadable_validation_chunk_is_silent_and_counts_for_no_track(tracks: list[Track], tmp_path: Path) -> None:
    dataset = ChunkDataset(tracks, SOURCES, CHUNK, 2, max_unreadable=1)
    origins = [dataset[index]["track"] for index in range(len(dataset))]
    (tracks[1].folder / "mixture.wav").unlink()
    items = [dataset[index] for index in range(len(dataset))]
    assert [item["track"] for item in items] == [-1 if track == 1 else track for track in origins]
    assert not items[origins.index(1)]["mixture"].any()
    (tracks[2].folder / "mixture.wav").unlink()
    with pytest.raises(UserError, match="2 of 3"):
        [dataset[index] for index in range(len(dataset))]


def test_the_limit_is_none_unless_stated(tracks: list[Track]) -> None:
    dataset = MixDataset(tracks, SOURCES, CHUNK, 0, Augmentation())
    shutil.rmtree(tracks[0].folder)
    with pytest.raises(UserError):
        [dataset[(0, index)] for index in range(20)]

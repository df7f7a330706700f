"""Datasets and sampler: the same batches whatever the workers, ranks and restarts."""

import logging
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from wsa_lightning.data.dataset import ChunkDataset, MixDataset, ShardedSampler, TrackDataset
from wsa_lightning.data.mixing import Augmentation
from wsa_lightning.data.tracks import SOURCES, Track
from wsa_lightning.errors import UserError

MakeTrack = Callable[..., Track]
CHUNK = 500


class TestMixDataset:
    @pytest.fixture
    def dataset(self, tracks: list[Track]) -> MixDataset:
        return MixDataset(tracks, SOURCES, CHUNK, seed=7, augmentation=Augmentation())

    def test_an_item_is_a_mixture_and_the_sources_it_is_the_sum_of(self, dataset: MixDataset) -> None:
        item = dataset[(2, 5)]
        assert (item["track"], item["index"]) == (-1, 5)
        assert item["targets"].shape == (4, 2, CHUNK)
        assert item["targets"].dtype == item["mixture"].dtype == torch.float32
        torch.testing.assert_close(item["mixture"], item["targets"].sum(dim=0))

    def test_an_item_depends_on_seed_epoch_and_index_only(self, dataset: MixDataset, tracks: list[Track]) -> None:
        again = MixDataset(tracks, SOURCES, CHUNK, seed=7, augmentation=Augmentation())
        other = MixDataset(tracks, SOURCES, CHUNK, seed=8, augmentation=Augmentation())
        dataset[(0, 0)]
        mixture = dataset[(3, 4)]["mixture"]
        assert mixture.equal(again[(3, 4)]["mixture"])
        for different in (other[(3, 4)], dataset[(4, 4)], dataset[(3, 5)], dataset[(4, 3)]):
            assert not mixture.equal(different["mixture"])

    def test_batches_are_the_same_from_no_and_from_two_workers(self, dataset: MixDataset) -> None:
        def batches(workers: int) -> list[dict[str, torch.Tensor]]:
            sampler = ShardedSampler(6)
            loader = DataLoader(
                dataset, batch_size=2, sampler=sampler, num_workers=workers, persistent_workers=workers > 0
            )
            seen = []
            for epoch in range(2):
                sampler.set_epoch(epoch)
                seen += list(loader)
            return seen

        here, there = batches(0), batches(2)
        assert len(here) == len(there) == 6
        for one, two in zip(here, there, strict=True):
            assert one["mixture"].shape == (2, 2, CHUNK)
            assert all(one[key].equal(two[key]) for key in ("mixture", "targets", "track", "index"))
        assert not here[0]["mixture"].equal(here[3]["mixture"])

    def test_tracks_shorter_than_the_chunk_are_left_out_with_a_warning(
        self, tracks: list[Track], caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.WARNING):
            dataset = MixDataset(tracks, ["vocals"], 3500, seed=0, augmentation=Augmentation())
        assert "2 of 3 tracks are shorter than a chunk (3500 samples)" in caplog.text
        assert dataset[(0, 0)]["mixture"].shape == (2, 3500)

    def test_a_chunk_longer_than_every_track_is_refused(self, tracks: list[Track]) -> None:
        with pytest.raises(UserError, match=r"5000 samples.*4000 samples.*'track 2'.*data\.chunk_seconds"):
            MixDataset(tracks, ["vocals"], 5000, seed=0, augmentation=Augmentation())

    def test_no_tracks_unknown_stems_and_empty_chunks_are_refused(self, tracks: list[Track]) -> None:
        with pytest.raises(UserError, match="no tracks"):
            MixDataset([], ["vocals"], CHUNK, seed=0, augmentation=Augmentation())
        with pytest.raises(UserError, match="unknown stem 'guitar'"):
            MixDataset(tracks, ["guitar"], CHUNK, seed=0, augmentation=Augmentation())
        with pytest.raises(UserError, match="a chunk of 0 samples"):
            MixDataset(tracks, ["vocals"], 0, seed=0, augmentation=Augmentation())


class TestShardedSampler:
    @settings(deadline=None)
    @given(size=st.integers(1, 200), world=st.integers(1, 8), start=st.integers(0, 250))
    def test_ranks_share_the_epoch_equally_and_without_overlap(self, size: int, world: int, start: int) -> None:
        assume(size >= world)
        shards = [list(ShardedSampler(size, rank, world, epoch=3, start=start)) for rank in range(world)]
        assert len({len(shard) for shard in shards}) == 1
        assert len(ShardedSampler(size, 0, world, start=start)) == size // world, "the trainer counts whole epochs"
        left = max(0, size - start)
        expected = range(start, start + left - left % world)
        assert sorted(key for shard in shards for key in shard) == [(3, index) for index in expected]

    @settings(deadline=None)
    @given(size=st.integers(4, 100), steps=st.integers(0, 25))
    def test_a_resumed_rank_goes_on_where_it_stopped(self, size: int, steps: int) -> None:
        for rank in range(4):
            whole = list(ShardedSampler(size, rank, 4))
            assert list(ShardedSampler(size, rank, 4, start=4 * steps)) == whole[steps:]

    def test_a_new_epoch_begins_at_its_beginning_and_the_same_one_does_not(self) -> None:
        sampler = ShardedSampler(5, epoch=2, start=3)
        sampler.set_epoch(2)
        assert list(sampler) == [(2, 3), (2, 4)]
        sampler.set_epoch(3)
        assert list(sampler) == [(3, index) for index in range(5)]

    def test_more_ranks_than_samples_are_refused(self) -> None:
        with pytest.raises(UserError, match="1 samples cannot be shared by 2 ranks"):
            ShardedSampler(1, 0, 2)


class TestChunkDataset:
    def test_chunks_are_the_published_audio(self, tracks: list[Track]) -> None:
        dataset = ChunkDataset(tracks, ["vocals", "instrumental"], CHUNK, per_track=3)
        for index, (track, start) in enumerate(dataset.places):
            item = dataset[index]
            assert (item["track"], item["index"]) == (track, index)
            for stem, audio in zip(("mixture", *dataset.stems), (item["mixture"], *item["targets"]), strict=True):
                np.testing.assert_array_equal(audio.numpy(), tracks[track].read(stem, start, start + CHUNK))
        assert [track.name for track in dataset.tracks] == ["track 0", "track 1", "track 2"]

    @settings(deadline=None)
    @given(samples=st.integers(1, 10**7), chunk=st.integers(1, 10**6), per_track=st.integers(1, 20))
    def test_chunks_lie_within_the_track_and_do_not_overlap(self, samples: int, chunk: int, per_track: int) -> None:
        assume(samples >= chunk)
        starts = _starts(samples, chunk, per_track)
        assert len(starts) == min(per_track, samples // chunk)
        assert starts[0] == 0
        assert starts[-1] <= samples - chunk
        assert all(after - before >= chunk for before, after in pairwise(starts))

    def test_chunks_reach_from_the_beginning_to_the_end(self) -> None:
        assert _starts(samples=1000, chunk=100, per_track=4) == [0, 300, 600, 900]

    def test_a_track_shorter_than_the_chunk_is_named(self, tracks: list[Track]) -> None:
        with pytest.raises(UserError, match=r"2500 samples.*2000 samples.*'track 0'.*data\.chunk_seconds"):
            ChunkDataset(tracks, ["vocals"], 2500, per_track=1)

    def test_batches_of_chunks_stack(self, tracks: list[Track]) -> None:
        loader = DataLoader(ChunkDataset(tracks, SOURCES, CHUNK, per_track=2), batch_size=6)
        (batch,) = loader
        assert batch["targets"].shape == (6, 4, 2, CHUNK)
        assert batch["track"].tolist() == [0, 0, 1, 1, 2, 2]

    def test_no_tracks_are_refused(self) -> None:
        with pytest.raises(UserError, match="no tracks"):
            ChunkDataset([], ["vocals"], CHUNK, per_track=1)


class TestTrackDataset:
    def test_tracks_are_whole(self, tracks: list[Track]) -> None:
        dataset = TrackDataset(tracks, ["drums"])
        assert len(dataset) == 3
        assert [track.name for track in dataset.tracks] == ["track 0", "track 1", "track 2"]
        for index, track in enumerate(tracks):
            item = dataset[index]
            assert (item["track"], item["index"]) == (index, index)
            np.testing.assert_array_equal(item["mixture"].numpy(), track.read("mixture", 0, track.samples))
            np.testing.assert_array_equal(item["targets"][0].numpy(), track.read("drums", 0, track.samples))

    def test_no_tracks_are_refused(self) -> None:
        with pytest.raises(UserError, match="no tracks"):
            TrackDataset([], ["vocals"])


def _starts(samples: int, chunk: int, per_track: int) -> list[int]:
    track = Track("track", Path("track"), 44100, samples)
    return [start for _, start in ChunkDataset([track], ["vocals"], chunk, per_track).places]

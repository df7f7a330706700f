"""Torch datasets: random mixtures to train on, fixed chunks to validate on, whole songs to test on."""

import logging
from collections.abc import Iterator, Sequence
from typing import Any, TypedDict

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from wsa_lightning.data.mixing import Augmentation, draw, mix, sample_generator, select_stems
from wsa_lightning.data.tracks import SOURCES, Track, UnreadableError, check_stems
from wsa_lightning.data.unreadable import UnreadableSongs
from wsa_lightning.errors import UserError

_log = logging.getLogger(__name__)


class Item(TypedDict):
    """One sample: ``mixture`` (2, N), ``targets`` (stems, 2, N), float32, and where it comes from.

    ``song`` counts the dataset's songs, -1 for a random mixture, a repeat or an unreadable chunk (which is silent);
    ``index`` counts its samples.
    """

    mixture: Tensor
    targets: Tensor
    song: int
    index: int


class MixItem(Item):
    """A random mixture, and the ``places`` (4, 2) its sources were read at: number of the track, first sample."""

    places: Tensor


class MixDataset(Dataset[MixItem]):
    """Random mixtures; its keys are the (epoch, index) pairs of a ``ShardedSampler``.

    The same seed, epoch and index give the same sample. ``chunk`` is in samples; songs shorter than it
    are left out with a warning. A chunk that cannot be read is drawn again, for up to ``max_unreadable`` songs.

    Raises:
        UserError: no song is as long as ``chunk``, a stem is unknown, or ``seed`` is negative.
    """

    def __init__(
        self,
        tracks: Sequence[Track],
        stems: Sequence[str],
        chunk: int,
        seed: int,
        augmentation: Augmentation,
        max_unreadable: int = 0,
    ) -> None:
        check_stems(stems)
        if seed < 0:
            raise UserError(f"seed is {seed}, expected 0 or more")
        self.tracks = _long_enough(tracks, chunk)
        self.stems = tuple(stems)
        self.chunk = chunk
        self.seed = seed
        self.augmentation = augmentation
        self.unreadable = UnreadableSongs(self.tracks, max_unreadable)

    def __getitem__(self, key: tuple[int, int]) -> MixItem:
        epoch, index = key
        rng = sample_generator(self.seed, epoch, index)
        sources, places = draw(self.tracks, self.chunk, rng, self.augmentation, self.unreadable.report)
        return {
            "mixture": torch.from_numpy(mix(sources)),
            "targets": torch.from_numpy(select_stems(sources, self.stems)),
            "song": -1,
            "index": index,
            "places": torch.from_numpy(places),
        }

    def origin(self, places: Tensor) -> list[str]:
        """In words, where the sources of an item were read: ``vocals of 'Song' at 12.3 s``."""
        found = zip(SOURCES, places.tolist(), strict=True)
        tracks = self.tracks
        return [f"{source} of {tracks[n].name!r} at {at / tracks[n].sample_rate:.2f} s" for source, (n, at) in found]


class ShardedSampler(Sampler[tuple[int, int]]):
    """The (epoch, index) keys of one rank: every ``world``-th index below ``size``, as many on each rank.

    The epoch travels inside the key because persistent workers never learn of ``set_epoch``. ``start`` is the
    first index, over all ranks, of the current epoch; a run that stopped after k samples of epoch e goes on
    with ``epoch=e, start=k``, on any number of ranks. A new epoch starts at 0 again.

    Raises:
        UserError: ``size`` is too small to give every rank one sample.
    """

    def __init__(self, size: int, rank: int = 0, world: int = 1, *, epoch: int = 0, start: int = 0) -> None:
        if not 0 <= rank < world:
            raise ValueError(f"rank is {rank}, expected 0 to {world - 1}")
        if size < world:
            raise UserError(f"an epoch of {size} samples cannot be shared by {world} ranks; make it larger")
        self.size = size
        self.rank = rank
        self.world = world
        self.epoch = epoch
        self.start = start

    def set_epoch(self, epoch: int) -> None:
        """Move to ``epoch``: to its first sample, unless it is the current one."""
        if epoch != self.epoch:
            self.epoch, self.start = epoch, 0

    def __iter__(self) -> Iterator[tuple[int, int]]:
        # The epoch is read now, not while keys are drawn: workers draw ahead, and set_epoch may come in between.
        epoch, first = self.epoch, self.start + self.rank
        remaining = max(0, self.size - self.start) // self.world
        return ((epoch, index) for index in range(first, first + remaining * self.world, self.world))

    def __len__(self) -> int:
        """Keys of a whole epoch; a resumed one yields fewer, and the trainer has counted the others already."""
        return self.size // self.world


class ChunkDataset(Dataset[Item]):
    """The same few chunks of every song each time, unaugmented, the mixture as published.

    Up to ``per_song`` chunks of ``chunk`` samples are spread evenly from the beginning of a song to its end;
    a song too short to hold that many side by side gives fewer, so that none overlap.
    A chunk that cannot be read is silent and counts for no song, for up to ``max_unreadable`` songs.

    Raises:
        UserError: a song is shorter than ``chunk``, there is no song, a stem is unknown, or a number
            is below 1.
    """

    def __init__(
        self, tracks: Sequence[Track], stems: Sequence[str], chunk: int, per_song: int, max_unreadable: int = 0
    ) -> None:
        check_stems(stems)
        if per_song < 1:
            raise UserError(f"{per_song} chunks per song, expected 1 or more")
        _check_chunk(tracks, chunk)
        for track in tracks:
            if track.samples < chunk:
                raise UserError(f"{_too_long(chunk, track)}; use a shorter data.chunk_seconds")
        self.tracks = tuple(tracks)
        self.stems = tuple(stems)
        self.chunk = chunk
        self.song_names = tuple(track.name for track in tracks)
        self.places = [(song, start) for song, track in enumerate(tracks) for start in _starts(track, chunk, per_song)]
        self.unreadable = UnreadableSongs(self.tracks, max_unreadable)

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Item:
        song, start = self.places[index]
        try:
            return _read_item(self.tracks[song], self.stems, start, start + self.chunk, song, index)
        except UnreadableError as error:
            self.unreadable.report(song, error)
            mixture, targets = torch.zeros(2, self.chunk), torch.zeros(len(self.stems), 2, self.chunk)
            return {"mixture": mixture, "targets": targets, "song": -1, "index": index}


class SongDataset(Dataset[Item]):
    """Whole songs, the mixture as published; their lengths differ, so batches hold one song.

    Raises:
        UserError: there is no song, or a stem is unknown.
    """

    def __init__(self, tracks: Sequence[Track], stems: Sequence[str]) -> None:
        check_stems(stems)
        _check_chunk(tracks, chunk=1)
        self.tracks = tuple(tracks)
        self.stems = tuple(stems)
        self.song_names = tuple(track.name for track in tracks)

    def __len__(self) -> int:
        return len(self.tracks)

    def __getitem__(self, index: int) -> Item:
        track = self.tracks[index]
        return _read_item(track, self.stems, 0, track.samples, index, index)


class Failure(TypedDict):
    """A song that could not be read, in the place of its ``Item``."""

    song: int
    index: int
    error: str


class Tolerant(Dataset[Item | Failure]):
    """A dataset that hands over what went wrong with an item, where it would raise; memory that ran out included."""

    def __init__(self, dataset: SongDataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Item | Failure:
        try:
            return self.dataset[index]
        except (UserError, OSError, MemoryError) as error:
            return {"song": index, "index": index, "error": str(error) or type(error).__name__}


class AtLeast(Dataset[Any]):
    """A dataset stretched to ``size`` items by repeats whose ``song`` is -1, which no score counts.

    With fewer items than ranks a rank would have no batch, and wait for the others for ever.
    """

    def __init__(self, dataset: Any, size: int) -> None:
        self.dataset = dataset
        self.size = max(size, len(dataset))

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Any:
        item: Any = self.dataset[index % len(self.dataset)]
        return item if index < len(self.dataset) else {**item, "song": -1}


def _read_item(track: Track, stems: Sequence[str], start: int, stop: int, song: int, index: int) -> Item:
    return {
        "mixture": torch.from_numpy(track.read("mixture", start, stop)),
        "targets": torch.from_numpy(np.stack([track.read(stem, start, stop) for stem in stems])),
        "song": song,
        "index": index,
    }


def _starts(track: Track, chunk: int, per_song: int) -> list[int]:
    count = max(1, min(per_song, track.samples // chunk))
    return [int(start) for start in np.linspace(0, track.samples - chunk, count)]


def _long_enough(tracks: Sequence[Track], chunk: int) -> tuple[Track, ...]:
    _check_chunk(tracks, chunk)
    kept = tuple(track for track in tracks if track.samples >= chunk)
    if not kept:
        longest = max(tracks, key=lambda track: track.samples)
        raise UserError(f"{_too_long(chunk, longest)}, the longest song; use a shorter data.chunk_seconds")
    if short := len(tracks) - len(kept):
        _log.warning("%d of %d songs are shorter than a chunk (%d samples) and left out", short, len(tracks), chunk)
    return kept


def _check_chunk(tracks: Sequence[Track], chunk: int) -> None:
    if not tracks:
        raise UserError("no songs given, expected at least one; check data.root")
    if chunk < 1:
        raise UserError(f"a chunk of {chunk} samples, expected 1 or more; use a longer data.chunk_seconds")


def _too_long(chunk: int, track: Track) -> str:
    rate = track.sample_rate
    return (
        f"a chunk of {chunk} samples ({chunk / rate:.2f} s) is longer than the {track.samples} samples "
        f"({track.samples / rate:.2f} s) of {track.name!r}"
    )

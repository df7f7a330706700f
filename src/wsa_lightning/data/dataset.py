"""Torch datasets: random mixtures to train on, fixed chunks to validate on, whole tracks to test on."""

import logging
from collections.abc import Iterator, Sequence
from typing import Protocol, TypedDict, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from wsa_lightning.data.mixing import Augmentation, draw, mix, sample_generator, select_stems
from wsa_lightning.data.tracks import SOURCES, Track, UnreadableError, check_stems
from wsa_lightning.data.unreadable import UnreadableTracks
from wsa_lightning.errors import UserError

_log = logging.getLogger(__name__)


class Item(TypedDict):
    """One sample.

    Attributes:
        mixture: (2, N), float32.
        targets: (stems, 2, N), float32.
        track: index of the track in the dataset; -1 for a random mixture, a repeated item, or a chunk that could not
            be read, which is silent.
        index: of the sample in the dataset.
    """

    mixture: Tensor
    targets: Tensor
    track: int
    index: int


class MixItem(Item):
    """A random mixture, and the ``places`` (4, 2) of its sources: index of the track, first sample."""

    places: Tensor


class Failure(TypedDict):
    """A track that could not be read, instead of its ``Item``."""

    track: int
    index: int
    error: str


Any_co = TypeVar("Any_co", covariant=True)


class FixedItems(Protocol[Any_co]):
    """A dataset of a fixed number of items; a list is one."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any_co: ...


class RandomItems(Protocol):
    """A dataset without an end, whose keys are pairs (epoch, index)."""

    def __getitem__(self, key: tuple[int, int], /) -> Item: ...


class MixDataset(Dataset[MixItem]):
    """Random mixtures; the keys are the (epoch, index) pairs of a ``ShardedSampler``.

    The same seed, epoch and index give the same sample.

    Args:
        tracks: to draw from; those shorter than ``chunk`` are left out with a warning.
        stems: the targets.
        chunk: length of a mixture, in samples.
        seed: of all samples, 0 or more.
        augmentation: how the sources are varied.
        max_unreadable: how many tracks may become unreadable; their chunks are drawn again.

    Raises:
        UserError: no track is as long as ``chunk``, or a stem is unknown.
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
        self.tracks = _long_enough(tracks, chunk)
        self.stems = tuple(stems)
        self.chunk = chunk
        self.seed = seed
        self.augmentation = augmentation
        self.unreadable = UnreadableTracks(self.tracks, max_unreadable)

    def __getitem__(self, key: tuple[int, int]) -> MixItem:
        epoch, index = key
        rng = sample_generator(self.seed, epoch, index)
        sources, places = draw(self.tracks, self.chunk, rng, self.augmentation, self.unreadable.report)
        return {
            "mixture": torch.from_numpy(mix(sources)),
            "targets": torch.from_numpy(select_stems(sources, self.stems)),
            "track": -1,
            "index": index,
            "places": torch.from_numpy(places),
        }

    def origin(self, places: Tensor) -> list[str]:
        """A description of where the sources of an item were read: ``vocals of 'NAME' at 12.3 s``."""
        found = zip(SOURCES, places.tolist(), strict=True)
        tracks = self.tracks
        return [f"{source} of {tracks[n].name!r} at {at / tracks[n].sample_rate:.2f} s" for source, (n, at) in found]


class ShardedSampler(Sampler[tuple[int, int]]):
    """The (epoch, index) keys of one rank: every ``world``-th index below ``size``, the same number on each rank.

    The epoch is part of the key because persistent workers do not see ``set_epoch``. ``start`` is the first index,
    over all ranks, of the current epoch: a run that stopped after k samples of epoch e is resumed with
    ``epoch=e, start=k``, on any number of ranks. The next epoch starts at 0 again.

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
        """Go to the first sample of ``epoch``, unless it is the current one."""
        if epoch != self.epoch:
            self.epoch, self.start = epoch, 0

    def __iter__(self) -> Iterator[tuple[int, int]]:
        # Read the epoch now, not as keys are drawn: workers draw ahead, and set_epoch may be called in between.
        epoch, first = self.epoch, self.start + self.rank
        remaining = max(0, self.size - self.start) // self.world
        return ((epoch, index) for index in range(first, first + remaining * self.world, self.world))

    def __len__(self) -> int:
        """Keys of a whole epoch; a resumed one yields fewer, because the trainer has already counted the others."""
        return self.size // self.world


class ChunkDataset(Dataset[Item]):
    """The same chunks of every track each time, without augmentation; the mixture is the published one.

    A chunk that cannot be read is silent and has ``track`` -1.

    Args:
        tracks: of at least ``chunk`` samples each.
        stems: the targets.
        chunk: length of a chunk, in samples.
        per_track: chunks of a track, 1 or more, evenly spread from beginning to end; fewer if they would overlap.
        max_unreadable: how many tracks may become unreadable.

    Raises:
        UserError: a track is shorter than ``chunk``, there is no track, or a stem is unknown.
    """

    def __init__(
        self, tracks: Sequence[Track], stems: Sequence[str], chunk: int, per_track: int, max_unreadable: int = 0
    ) -> None:
        check_stems(stems)
        _check_chunk(tracks, chunk)
        for track in tracks:
            if track.samples < chunk:
                raise UserError(f"{_too_long(chunk, track)}; use a shorter data.chunk_seconds")
        self.tracks = tuple(tracks)
        self.stems = tuple(stems)
        self.chunk = chunk
        self.places = [(n, start) for n, track in enumerate(tracks) for start in _starts(track, chunk, per_track)]
        self.unreadable = UnreadableTracks(self.tracks, max_unreadable)

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Item:
        track, start = self.places[index]
        try:
            return _read_item(self.tracks[track], self.stems, start, start + self.chunk, track, index)
        except UnreadableError as error:
            self.unreadable.report(track, error)
            mixture, targets = torch.zeros(2, self.chunk), torch.zeros(len(self.stems), 2, self.chunk)
            return {"mixture": mixture, "targets": targets, "track": -1, "index": index}


class TrackDataset(Dataset[Item | Failure]):
    """Whole tracks, the mixture as published; their lengths differ, so a batch has one track.

    A track that cannot be read or does not fit into memory is a ``Failure``.

    Raises:
        UserError: there is no track, or a stem is unknown.
    """

    def __init__(self, tracks: Sequence[Track], stems: Sequence[str]) -> None:
        check_stems(stems)
        _check_chunk(tracks, chunk=1)
        self.tracks = tuple(tracks)
        self.stems = tuple(stems)

    def __len__(self) -> int:
        return len(self.tracks)

    def __getitem__(self, index: int) -> Item | Failure:
        track = self.tracks[index]
        try:
            return _read_item(track, self.stems, 0, track.samples, index, index)
        except (UserError, OSError, MemoryError) as error:
            return {"track": index, "index": index, "error": str(error) or type(error).__name__}


class AtLeast(Dataset[Item | Failure]):
    """A dataset extended to ``size`` items by repeats; their ``track`` is -1, so that no score counts them.

    With fewer items than ranks, a rank without a batch would wait for the others forever.
    """

    def __init__(self, dataset: FixedItems[Item | Failure], size: int) -> None:
        self.dataset = dataset
        self.size = max(size, len(dataset))

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Item | Failure:
        item = self.dataset[index % len(self.dataset)].copy()
        if index >= len(self.dataset):
            item["track"] = -1
        return item


def _read_item(track: Track, stems: Sequence[str], start: int, stop: int, number: int, index: int) -> Item:
    return {
        "mixture": torch.from_numpy(track.read("mixture", start, stop)),
        "targets": torch.from_numpy(np.stack([track.read(stem, start, stop) for stem in stems])),
        "track": number,
        "index": index,
    }


def _starts(track: Track, chunk: int, per_track: int) -> list[int]:
    count = max(1, min(per_track, track.samples // chunk))
    return [int(start) for start in np.linspace(0, track.samples - chunk, count)]


def _long_enough(tracks: Sequence[Track], chunk: int) -> tuple[Track, ...]:
    _check_chunk(tracks, chunk)
    kept = tuple(track for track in tracks if track.samples >= chunk)
    if not kept:
        longest = max(tracks, key=lambda track: track.samples)
        raise UserError(f"{_too_long(chunk, longest)}, the longest track; use a shorter data.chunk_seconds")
    if short := len(tracks) - len(kept):
        _log.warning("%d of %d tracks are shorter than a chunk (%d samples) and left out", short, len(tracks), chunk)
    return kept


def _check_chunk(tracks: Sequence[Track], chunk: int) -> None:
    if not tracks:
        raise UserError("no tracks given, expected at least one; check data.root")
    if chunk < 1:
        raise UserError(f"a chunk of {chunk} samples, expected 1 or more; use a longer data.chunk_seconds")


def _too_long(chunk: int, track: Track) -> str:
    rate = track.sample_rate
    return (
        f"a chunk of {chunk} samples ({chunk / rate:.2f} s) is longer than the {track.samples} samples "
        f"({track.samples / rate:.2f} s) of {track.name!r}"
    )

"""Random mixtures of sources: random tracks, offsets, gains, channel swaps and polarity.

Every function is pure given its random generator, so a sample depends on (seed, epoch, index) and on nothing
else, such as the number of workers, ranks or restarts.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from wsa_lightning.data.tracks import PARTS, SOURCES, Track, UnreadableError, check_stems
from wsa_lightning.errors import UserError
from wsa_lightning.ranges import ClosedUnitInterval

Sources: TypeAlias = NDArray[np.float32]
"""One chunk of every source, in the order of ``SOURCES``: (4, 2, N)."""

Places: TypeAlias = NDArray[np.int64]
"""Where each source was read: (4, 2), the index of the track and the first sample."""

_MAX_DRAWS = 8
_MAX_READS = 1000
_SILENT_PEAK = 1e-4


class Drawn(NamedTuple):
    """One random sample and where it comes from."""

    sources: Sources
    places: Places


@dataclass(frozen=True)
class Augmentation:
    """How the sources of a sample are varied.

    Attributes:
        remix: probability that the sources of a sample come from different tracks.
        gain: range of the factor that a source is multiplied by.
        channel_swap: probability that the channels of a source are swapped.
        polarity: probability that a source is negated.
    """

    remix: ClosedUnitInterval = 0.5
    gain: tuple[float, float] = (0.25, 1.25)
    channel_swap: ClosedUnitInterval = 0.5
    polarity: ClosedUnitInterval = 0.5

    def __post_init__(self) -> None:
        if len(self.gain) != 2 or not 0 <= self.gain[0] <= self.gain[1] < math.inf or self.gain[1] == 0:
            raise UserError(f"augmentation.gain is {self.gain}, expected (low, high), 0 <= low <= high, 0 < high")


def sample_generator(seed: int, epoch: int, index: int) -> np.random.Generator:
    """The generator of one sample; the arguments are non-negative."""
    return np.random.default_rng(np.random.SeedSequence([seed, epoch, index]))


def draw(
    tracks: Sequence[Track],
    chunk: int,
    rng: np.random.Generator,
    augmentation: Augmentation,
    on_unreadable: Callable[[int, UnreadableError], None] | None = None,
) -> Drawn:
    """A random chunk of every source, augmented: (4, 2, chunk).

    Either all four come from one track at one offset, or each from its own track and offset. A silent mixture is
    drawn again, up to 8 draws in total, because nothing can be learned from it; a silent source is kept, because
    a model must learn to output silence. A chunk that cannot be read is drawn again too. It is tried again when
    drawn later, so that a sample depends only on the files, not on what this process has read so far.

    Args:
        tracks: of at least ``chunk`` samples each.
        chunk: in samples.
        rng: the source of all randomness.
        augmentation: how the sources are varied.
        on_unreadable: called with the index of a track that cannot be read and the error; it may raise.

    Raises:
        UnreadableError: a chunk cannot be read and there is no ``on_unreadable``, or nothing can be read.
    """
    draws = 0
    for _ in range(_MAX_READS):
        places = _draw_places(tracks, chunk, rng, augmentation.remix)
        try:
            sources = _read_sources(tracks, chunk, places, on_unreadable)
        except UnreadableError as error:
            if on_unreadable is None:
                raise
            failure = error
            continue
        sources = _augment(sources, rng, augmentation)
        draws += 1
        if draws == _MAX_DRAWS or np.abs(mix(sources)).max() >= _SILENT_PEAK:
            return Drawn(sources, places)
    raise failure


def mix(sources: Sources) -> NDArray[np.float32]:
    """The sum of (sources, 2, N): (2, N)."""
    return np.asarray(sources.sum(axis=0))


def select_stems(sources: Sources, stems: Sequence[str]) -> NDArray[np.float32]:
    """The named stems of (4, 2, N) sources, in the order given: (stems, 2, N).

    ``instrumental`` is the sum of drums, bass and other.

    Raises:
        UserError: a stem is unknown or named twice, or none is named.
    """
    check_stems(stems)
    return np.stack([mix(sources[[SOURCES.index(part) for part in PARTS[stem]]]) for stem in stems])


def _draw_places(tracks: Sequence[Track], chunk: int, rng: np.random.Generator, remix: float) -> Places:
    if rng.random() < remix:
        places = [_place(tracks, chunk, rng) for _ in SOURCES]
    else:
        places = [_place(tracks, chunk, rng)] * len(SOURCES)
    return np.array(places, dtype=np.int64)


def _place(tracks: Sequence[Track], chunk: int, rng: np.random.Generator) -> tuple[int, int]:
    number = int(rng.integers(len(tracks)))
    return number, int(rng.integers(tracks[number].samples - chunk, endpoint=True))


def _read_sources(
    tracks: Sequence[Track], chunk: int, places: Places, on_unreadable: Callable[[int, UnreadableError], None] | None
) -> Sources:
    sources = []
    for source, (number, start) in zip(SOURCES, places.tolist(), strict=True):
        try:
            sources.append(tracks[number].read(source, start, start + chunk))
        except UnreadableError as error:
            if on_unreadable is not None:
                on_unreadable(number, error)
            raise
    return np.stack(sources)


def _augment(sources: Sources, rng: np.random.Generator, augmentation: Augmentation) -> Sources:
    count = len(sources)
    gains = rng.uniform(*augmentation.gain, size=count)
    swapped = rng.random(count) < augmentation.channel_swap
    flipped = rng.random(count) < augmentation.polarity
    scale = np.where(flipped, -gains, gains).astype(np.float32)
    return np.where(swapped[:, None, None], sources[:, ::-1], sources) * scale[:, None, None]

"""The data that training, validation and test read, whatever its source."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import torch
from torch.utils.data import SequentialSampler

from wsa_lightning.data.dataset import AtLeast, Failure, FixedItems, Item, RandomItems, ShardedSampler
from wsa_lightning.errors import UserError
from wsa_lightning.ranges import NonNegativeInt, PositiveFloat, PositiveInt
from wsa_lightning.reliability.internals import is_overfitting, processed_batches
from wsa_lightning.reliability.waiting import TimedLoader

MIN_CHUNK = 2048


class TrackInfo(NamedTuple):
    """What the test reports of a track besides its scores.

    Attributes:
        name: unique within the test split.
        seconds: its length.
        fingerprint: changes with the content; None if it is unknown, and the teacher's scores are not cached.
    """

    name: str
    seconds: float
    fingerprint: str | None = None


class SeparationDataModule(L.LightningDataModule, ABC):
    """Random mixtures to train on, fixed chunks to validate on, whole tracks to test on.

    A subclass defines the three datasets and the names of their tracks; this class makes the loaders: each item on one
    rank, a resumed epoch continued after the last sample trained on, waiting times measured.

    Args:
        stems: names of the stems, in the order of ``Item["targets"]``.
        sample_rate: of all audio, in Hz.
        chunk_seconds: length of a training chunk.
        batch_size: training chunks per device.
        valid_batch_size: validation chunks per device.
        steps_per_epoch: batches per device in an epoch (random mixtures have no natural end).
        seed: every training sample should be a pure function of (seed, epoch, index).
        workers: processes that read and mix; 0 does it in the training process.

    Raises:
        UserError: a chunk too short for the widest window of ``audio/stft``.
    """

    def __init__(
        self,
        stems: Sequence[str] = ("vocals",),
        sample_rate: PositiveInt = 44100,
        chunk_seconds: PositiveFloat = 2.0,
        batch_size: PositiveInt = 4,
        valid_batch_size: PositiveInt = 4,
        steps_per_epoch: PositiveInt = 50,
        seed: NonNegativeInt = 0,
        workers: NonNegativeInt = 1,
    ) -> None:
        super().__init__()
        self.stems, self.sample_rate = tuple(stems), sample_rate
        self.chunk = round(chunk_seconds * sample_rate)
        """Samples of a training chunk."""
        if self.chunk <= MIN_CHUNK:
            raise UserError(
                f"data.chunk_seconds is {chunk_seconds}: expected more than {MIN_CHUNK} samples "
                f"({MIN_CHUNK / sample_rate:.3f} s), half the widest window of audio/stft"
            )
        self.batch_size, self.valid_batch_size = batch_size, valid_batch_size
        self.steps_per_epoch, self.seed, self.workers = steps_per_epoch, seed, workers
        self.cache: Path | None = None
        """Where the teacher's scores are kept; None is the user's cache folder."""
        self._sampler: ShardedSampler | None = None
        self._resumed = {"epoch": 0, "samples": 0}

    @abstractmethod
    def train_dataset(self) -> RandomItems:
        """Random mixtures; its keys are pairs (epoch, index)."""

    @abstractmethod
    def valid_dataset(self) -> FixedItems[Item]:
        """The chunks of every validation track, the same each time."""

    @abstractmethod
    def test_dataset(self) -> FixedItems[Item | Failure]:
        """Whole tracks; an item that cannot be read is a ``Failure``."""

    @property
    @abstractmethod
    def valid_songs(self) -> Sequence[str]:
        """Names of the validation tracks, in the order in which ``Item["track"]`` numbers them."""

    @property
    @abstractmethod
    def test_tracks(self) -> Sequence[TrackInfo]:
        """The test tracks, in the order in which ``Item["track"]`` numbers them."""

    @property
    def refused_songs(self) -> Mapping[str, str]:
        """Test tracks that cannot be used, name to reason; ``test`` reports them."""
        return {}

    @property
    def unreadable_songs(self) -> int:
        """Training tracks that could not be read so far."""
        return 0

    def origin(self, batch: Mapping[str, Any]) -> list[str]:
        """Where the samples of a training batch come from, in words."""
        return [f"sample {int(index)}" for index in batch["index"]]

    def listening_item(self) -> Item:
        """The loudest of the first validation chunks: mixture (2, N) and targets (stems, 2, N)."""
        dataset = self.valid_dataset()
        items = [dataset[index] for index in range(min(len(dataset), 8))]
        return max(items, key=lambda item: float(item["targets"].square().mean()))

    @property
    def batches_per_epoch(self) -> int:
        """Training batches of an epoch on each device: ``steps_per_epoch``, or ``trainer.limit_train_batches``."""
        limit = self.trainer.limit_train_batches if self.trainer else 1.0
        return min(self.steps_per_epoch, limit) if isinstance(limit, int) else int(self.steps_per_epoch * limit)

    def train_dataloader(self) -> TimedLoader:
        """Random mixtures; a resumed epoch continues with the sample after the last one trained on.

        With ``trainer.overfit_batches`` every epoch has the same first mixtures.
        """
        if self.trainer is not None and is_overfitting(self.trainer):
            first = [self.train_dataset()[0, index] for index in range(self.batches_per_epoch * self.batch_size)]
            return self._loader(first, self.batch_size, SequentialSampler(first))
        rank, world = self._rank_and_world()
        size = self.steps_per_epoch * self.batch_size * world
        self._sampler = ShardedSampler(size, rank, world, epoch=self._resumed["epoch"], start=self._resumed["samples"])
        return self._loader(self.train_dataset(), self.batch_size, self._sampler)

    def val_dataloader(self) -> TimedLoader:
        """Fixed chunks, each on one rank."""
        return self._fixed_loader(self.valid_dataset(), self.valid_batch_size)

    def test_dataloader(self) -> TimedLoader:
        """Whole tracks, one a batch because their lengths differ, each on one rank."""
        return self._fixed_loader(self.test_dataset(), 1)

    def predict_dataloader(self) -> TimedLoader:
        return self.test_dataloader()

    def state_dict(self) -> dict[str, Any]:
        """The epoch, and the samples of it trained on over all ranks: the first ones, in order."""
        if self._sampler is None or self.trainer is None:
            return {}
        batches = processed_batches(self.trainer)
        if batches >= self.batches_per_epoch:
            return {"epoch": self._sampler.epoch + 1, "samples": 0}
        return {"epoch": self._sampler.epoch, "samples": batches * self.batch_size * self._rank_and_world()[1]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._resumed = {"epoch": state_dict["epoch"], "samples": state_dict["samples"]}

    def _rank_and_world(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _fixed_loader(self, dataset: FixedItems[Item | Failure], batch_size: int) -> TimedLoader:
        rank, world = self._rank_and_world()
        items = AtLeast(dataset, world)
        return self._loader(items, batch_size, range(rank, len(items), world))  # a repeat would count a track twice

    def _loader(self, dataset: Any, batch_size: int, sampler: Iterable[Any]) -> TimedLoader:
        return TimedLoader(
            dataset,
            batch_size=batch_size,
            sampler=sampler,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            pin_memory=torch.cuda.is_available(),
            # A loader without its own generator draws from the global one, and so would disturb a resumed run.
            generator=torch.Generator().manual_seed(self.seed),
        )

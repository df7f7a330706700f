"""MUSDB18-HQ, or the embedded songs, as Lightning wants them."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from wsa_lightning.data.dataset import AtLeast, ChunkDataset, MixDataset, ShardedSampler, SongDataset
from wsa_lightning.data.mixing import Augmentation
from wsa_lightning.data.songs import embedded_root
from wsa_lightning.data.splits import split
from wsa_lightning.data.tracks import Track, check_stems
from wsa_lightning.errors import UserError

MIN_CHUNK = 2048


class EveryNth(Sampler[int]):
    """One rank's share of fixed items, without the repeats that would count a song twice."""

    def __init__(self, size: int, rank: int, world: int) -> None:
        self.indices = range(rank, size, world)

    def __iter__(self) -> Any:
        return iter(self.indices)

    def __len__(self) -> int:
        return len(self.indices)


class MUSDBDataModule(L.LightningDataModule):
    """Random mixtures to train on, fixed chunks to validate on, whole songs to test on.

    Args:
        root: MUSDB18-HQ tree ``ROOT/{train,test}/TRACK/{mixture,drums,bass,other,vocals}.wav``; null is the
            embedded default: songs composed on first use and kept in the user's cache folder.
        cache: where the embedded songs are kept instead.
        stems: what to separate: any of vocals, drums, bass, other, instrumental.
        sample_rate: of the songs, in Hz.
        chunk_seconds: length of a training and validation chunk.
        batch_size: training chunks per device.
        valid_batch_size: validation chunks per device.
        steps_per_epoch: batches per device in an epoch (random mixtures have no natural end).
        chunks_per_song: fixed validation chunks of a song, evenly spread.
        seed: every training sample is a pure function of (seed, epoch, index).
        workers: processes that read and mix; 0 does it in the training process.
        augmentation: remix, gain, channel swap, polarity.
    """

    def __init__(
        self,
        root: Path | None = None,
        cache: Path | None = None,
        stems: tuple[str, ...] = ("vocals",),
        sample_rate: int = 44100,
        chunk_seconds: float = 2.0,
        batch_size: int = 4,
        valid_batch_size: int = 4,
        steps_per_epoch: int = 50,
        chunks_per_song: int = 4,
        seed: int = 0,
        workers: int = 1,
        augmentation: Augmentation = Augmentation(),  # noqa: B008 - frozen
    ) -> None:
        super().__init__()
        check_stems(stems)
        for key, value in (
            ("chunk_seconds", chunk_seconds),
            ("batch_size", batch_size),
            ("valid_batch_size", valid_batch_size),
            ("steps_per_epoch", steps_per_epoch),
            ("chunks_per_song", chunks_per_song),
        ):
            if value <= 0:
                raise UserError(f"data.{key} is {value}: expected more than 0")
        if round(chunk_seconds * sample_rate) <= MIN_CHUNK:
            raise UserError(
                f"data.chunk_seconds is {chunk_seconds}: expected more than {MIN_CHUNK} samples "
                f"({MIN_CHUNK / sample_rate:.3f} s), half the widest window of audio/stft"
            )
        if workers < 0:
            raise UserError(f"data.workers is {workers}: expected 0 or more")
        self.root, self.cache = root, cache
        self.stems, self.sample_rate = tuple(stems), sample_rate
        self.chunk = round(chunk_seconds * sample_rate)
        self.batch_size, self.valid_batch_size = batch_size, valid_batch_size
        self.steps_per_epoch, self.chunks_per_song = steps_per_epoch, chunks_per_song
        self.seed, self.workers = seed, workers
        self.augmentation = augmentation
        self.save_hyperparameters(
            {
                "root": None if root is None else str(root),
                "stems": list(stems),
                "chunk_seconds": chunk_seconds,
                "batch_size": batch_size,
                "seed": seed,
                "augmentation": asdict(augmentation) | {"gain": list(augmentation.gain)},
            }
        )
        self._tracks: dict[str, list[Track]] = {}

    def prepare_data(self) -> None:
        """Compose the embedded songs once per machine, if they are what was asked for."""
        if self.root is None:
            embedded_root(self.cache)

    def setup(self, stage: str) -> None:
        """Find the songs of the splits this stage needs; only their headers are read."""
        root = embedded_root(self.cache) if self.root is None else self.root
        for name in {"fit": ("train", "valid"), "validate": ("valid",)}.get(stage, ("test",)):
            self._tracks[name] = split(root, name, self.sample_rate)  # type: ignore[arg-type]

    @property
    def valid_songs(self) -> tuple[str, ...]:
        """Names of the validation songs, in the order ``Item["song"]`` numbers them."""
        return tuple(track.name for track in self._tracks["valid"])

    @property
    def test_songs(self) -> tuple[str, ...]:
        """Names of the test songs."""
        return tuple(track.name for track in self._tracks["test"])

    def train_dataloader(self) -> DataLoader[Any]:
        """Random mixtures; a resumed epoch goes on with the sample after the last one trained on."""
        dataset = MixDataset(self._tracks["train"], self.stems, self.chunk, self.seed, self.augmentation)
        rank, world = self._rank_and_world()
        trained = self.trainer.fit_loop.epoch_loop.batch_progress.total.processed if self.trainer else 0  # type: ignore[attr-defined]
        epoch, batch = divmod(trained, self.steps_per_epoch)
        samples = self.batch_size * world
        sampler = ShardedSampler(self.steps_per_epoch * samples, rank, world, epoch=epoch, start=batch * samples)
        return self._loader(dataset, self.batch_size, sampler)

    def val_dataloader(self) -> DataLoader[Any]:
        """Fixed chunks, each on one rank."""
        dataset = ChunkDataset(self._tracks["valid"], self.stems, self.chunk, self.chunks_per_song)
        return self._fixed_loader(dataset, self.valid_batch_size)

    def test_dataloader(self) -> DataLoader[Any]:
        """Whole songs, one a batch, each on one rank."""
        dataset = SongDataset(self._tracks["test"], self.stems)
        return self._fixed_loader(dataset, 1)

    def predict_dataloader(self) -> DataLoader[Any]:
        """The test songs."""
        return self.test_dataloader()

    def listening_item(self) -> dict[str, Tensor]:
        """The mixture (2, N) and targets (stems, 2, N) of the loudest of the first validation chunks."""
        dataset = ChunkDataset(self._tracks["valid"], self.stems, self.chunk, self.chunks_per_song)
        items = [dataset[index] for index in range(min(len(dataset), 8))]
        loudest = max(items, key=lambda item: float(item["targets"].square().mean()))
        return {"mixture": loudest["mixture"], "targets": loudest["targets"]}

    def _rank_and_world(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _fixed_loader(self, dataset: ChunkDataset | SongDataset, batch_size: int) -> DataLoader[Any]:
        rank, world = self._rank_and_world()
        items = AtLeast(dataset, world)
        return self._loader(items, batch_size, EveryNth(len(items), rank, world))

    def _loader(self, dataset: Dataset[Any], batch_size: int, sampler: Sampler[Any]) -> DataLoader[Any]:
        return DataLoader(
            dataset,
            batch_size=batch_size,
            sampler=sampler,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

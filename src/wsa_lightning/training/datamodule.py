"""MUSDB18-HQ, or the embedded songs, as Lightning wants them."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from wsa_lightning.data.dataset import AtLeast, ChunkDataset, MixDataset, ShardedSampler, Tolerant, TrackDataset
from wsa_lightning.data.embedded import embedded_root
from wsa_lightning.data.loader import TimedLoader
from wsa_lightning.data.mixing import Augmentation
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
        max_unreadable: songs of a split that may become unreadable during a run; they are skipped with a warning.
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
        max_unreadable: int = 3,
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
        for key, value in (("workers", workers), ("max_unreadable", max_unreadable)):
            if value < 0:
                raise UserError(f"data.{key} is {value}: expected 0 or more")
        self.root, self.cache = root, cache
        self.stems, self.sample_rate = tuple(stems), sample_rate
        self.chunk = round(chunk_seconds * sample_rate)
        self.batch_size, self.valid_batch_size = batch_size, valid_batch_size
        self.steps_per_epoch, self.chunks_per_song = steps_per_epoch, chunks_per_song
        self.seed, self.workers, self.max_unreadable = seed, workers, max_unreadable
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
        self._mixtures: MixDataset | None = None
        self._sampler: ShardedSampler | None = None
        self._resumed = {"epoch": 0, "samples": 0}
        self.refused_songs: dict[str, str] = {}
        """Test songs that cannot be used, name to reason; ``test`` reports them, every other stage refuses."""

    def prepare_data(self) -> None:
        """Compose the embedded songs once per machine, if they are what was asked for."""
        if self.root is None:
            embedded_root(self.cache)

    def setup(self, stage: str) -> None:
        """Find the songs of the splits this stage needs; only their headers are read."""
        self.refused_songs = {}
        for name in {"fit": ("train", "valid"), "validate": ("valid",)}.get(stage, ("test",)):
            self._tracks[name] = self._split(name, self.refused_songs if stage == "test" else None)

    def _split(self, name: str, refused: dict[str, str] | None = None) -> list[Track]:
        root = embedded_root(self.cache) if self.root is None else self.root
        return split(root, name, self.sample_rate, refused=refused)  # type: ignore[arg-type]

    @property
    def valid_songs(self) -> tuple[str, ...]:
        """Names of the validation songs, in the order ``Item["track"]`` numbers them."""
        return tuple(track.name for track in self._tracks["valid"])

    @property
    def test_songs(self) -> tuple[str, ...]:
        """Names of the test songs."""
        return tuple(track.name for track in self.test_tracks)

    @property
    def test_tracks(self) -> tuple[Track, ...]:
        """The test songs, in the order ``Item["track"]`` numbers them."""
        return tuple(self._tracks["test"])

    def train_dataloader(self) -> TimedLoader:
        """Random mixtures; a resumed epoch goes on with the sample after the last one trained on."""
        dataset = MixDataset(
            self._tracks["train"], self.stems, self.chunk, self.seed, self.augmentation, self.max_unreadable
        )
        self._mixtures = dataset
        rank, world = self._rank_and_world()
        size = self.steps_per_epoch * self.batch_size * world
        self._sampler = ShardedSampler(size, rank, world, epoch=self._resumed["epoch"], start=self._resumed["samples"])
        return self._loader(dataset, self.batch_size, self._sampler)

    @property
    def unreadable_songs(self) -> int:
        """Training songs that could not be read so far."""
        return 0 if self._mixtures is None else len(self._mixtures.unreadable)

    def origin(self, places: Tensor) -> list[str]:
        """In words, where the sources of a training sample were read; ``places`` as in its ``MixItem``."""
        assert self._mixtures is not None
        return self._mixtures.origin(places)

    @property
    def batches_per_epoch(self) -> int:
        """Training batches of an epoch on each device: ``steps_per_epoch``, or ``trainer.limit_train_batches``."""
        limit = self.trainer.limit_train_batches if self.trainer else 1.0
        return min(self.steps_per_epoch, limit) if isinstance(limit, int) else int(self.steps_per_epoch * limit)

    def state_dict(self) -> dict[str, Any]:
        """The epoch, and the samples of it trained on over all ranks: the first ones, in order."""
        if self._sampler is None or self.trainer is None:
            return {}
        batches = self.trainer.fit_loop.epoch_loop.batch_progress.current.processed  # type: ignore[attr-defined]
        if batches >= self.batches_per_epoch:
            return {"epoch": self._sampler.epoch + 1, "samples": 0}
        return {"epoch": self._sampler.epoch, "samples": batches * self.batch_size * self._rank_and_world()[1]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on after the samples trained on."""
        self._resumed = {"epoch": state_dict["epoch"], "samples": state_dict["samples"]}

    def val_dataloader(self) -> TimedLoader:
        """Fixed chunks, each on one rank."""
        return self._fixed_loader(self._valid_chunks(), self.valid_batch_size)

    def test_dataloader(self) -> TimedLoader:
        """Whole songs, one a batch, each on one rank; a ``Failure`` for a song that cannot be read."""
        return self._fixed_loader(Tolerant(TrackDataset(self._tracks["test"], self.stems)), 1)

    def predict_dataloader(self) -> TimedLoader:
        """The test songs."""
        return self._fixed_loader(TrackDataset(self._tracks["test"], self.stems), 1)

    def listening_item(self) -> dict[str, Tensor]:
        """The mixture (2, N) and targets (stems, 2, N) of the loudest of the first validation chunks."""
        dataset = self._valid_chunks()
        items = [dataset[index] for index in range(min(len(dataset), 8))]
        loudest = max(items, key=lambda item: float(item["targets"].square().mean()))
        return {"mixture": loudest["mixture"], "targets": loudest["targets"]}

    def _valid_chunks(self) -> ChunkDataset:
        return ChunkDataset(self._tracks["valid"], self.stems, self.chunk, self.chunks_per_song, self.max_unreadable)

    def some_mixtures(self, count: int = 16) -> Tensor:
        """The first training mixtures (count, 2, N), the same in every stage and on every rank."""
        tracks = self._tracks.get("train") or self._split("train")
        mixes = MixDataset(tracks, self.stems, self.chunk, self.seed, self.augmentation)
        return torch.stack([mixes[0, index]["mixture"] for index in range(count)])

    def _rank_and_world(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _fixed_loader(self, dataset: ChunkDataset | TrackDataset | Tolerant, batch_size: int) -> TimedLoader:
        rank, world = self._rank_and_world()
        items = AtLeast(dataset, world)
        return self._loader(items, batch_size, EveryNth(len(items), rank, world))

    def _loader(self, dataset: Dataset[Any], batch_size: int, sampler: Sampler[Any]) -> TimedLoader:
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

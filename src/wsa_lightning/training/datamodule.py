"""MUSDB18-HQ, or the embedded songs, as Lightning reads them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from wsa_lightning.data.dataset import ChunkDataset, MixDataset, TrackDataset
from wsa_lightning.data.embedded import embedded_root
from wsa_lightning.data.mixing import Augmentation
from wsa_lightning.data.splits import SplitName, split
from wsa_lightning.data.tracks import Track, check_stems
from wsa_lightning.ranges import NonNegativeInt, PositiveInt
from wsa_lightning.training.data_protocol import SeparationDataModule, TrackInfo

STAGES: Mapping[str, tuple[SplitName, ...]] = {"fit": ("train", "valid"), "validate": ("valid",)}


class MUSDBDataModule(SeparationDataModule):
    """MUSDB18-HQ, or the embedded songs.

    Args:
        root: MUSDB18-HQ tree ``ROOT/{train,test}/TRACK/{mixture,drums,bass,other,vocals}.wav``; null is the
            embedded default: songs composed on first use and kept in the user's cache folder.
        cache: where the embedded songs are kept instead.
        stems: what to separate: any of vocals, drums, bass, other, instrumental.
        chunks_per_song: fixed validation chunks of a song, evenly spread.
        max_unreadable: songs of a split that may become unreadable during a run; they are skipped with a warning.
        augmentation: remix, gain, channel swap, polarity.
        options: what every ``SeparationDataModule`` takes (chunk_seconds, batch_size, ...).
    """

    def __init__(
        self,
        root: Path | None = None,
        cache: Path | None = None,
        stems: tuple[str, ...] = ("vocals",),
        chunks_per_song: PositiveInt = 6,
        max_unreadable: NonNegativeInt = 3,
        augmentation: Augmentation = Augmentation(),  # noqa: B008 - frozen
        **options: Any,
    ) -> None:
        check_stems(stems)
        super().__init__(stems, **options)
        self.root, self.cache = root, cache
        self.chunks_per_song, self.max_unreadable = chunks_per_song, max_unreadable
        self.augmentation = augmentation
        self.save_hyperparameters(
            {
                "root": None if root is None else str(root),
                "stems": list(stems),
                "chunk_seconds": self.chunk / self.sample_rate,
                "batch_size": self.batch_size,
                "seed": self.seed,
                "augmentation": asdict(augmentation) | {"gain": list(augmentation.gain)},
            }
        )
        self._tracks: dict[str, list[Track]] = {}
        self._mixtures: MixDataset | None = None
        self._refused: dict[str, str] = {}

    def prepare_data(self) -> None:
        """Compose the embedded songs once per machine, if they are what was asked for."""
        if self.root is None:
            embedded_root(self.cache)

    def setup(self, stage: str) -> None:
        """Find the songs of the splits this stage needs; only their headers are read."""
        self._tracks, self._refused = {}, {}
        for name in STAGES.get(stage, ("test",)):
            self._tracks[name] = self._split(name, self._refused if stage == "test" else None)

    def _split(self, name: SplitName, refused: dict[str, str] | None = None) -> list[Track]:
        root = embedded_root(self.cache) if self.root is None else self.root
        return split(root, name, self.sample_rate, refused=refused)

    def tracks(self, name: SplitName) -> list[Track]:
        if name not in self._tracks:
            self._tracks[name] = self._split(name)
        return self._tracks[name]

    def train_dataset(self) -> MixDataset:
        self._mixtures = MixDataset(
            self.tracks("train"), self.stems, self.chunk, self.seed, self.augmentation, self.max_unreadable
        )
        return self._mixtures

    def valid_dataset(self) -> ChunkDataset:
        """``chunks_per_song`` chunks of every validation song."""
        return ChunkDataset(self.tracks("valid"), self.stems, self.chunk, self.chunks_per_song, self.max_unreadable)

    def test_dataset(self) -> TrackDataset:
        """The test songs."""
        return TrackDataset(self.tracks("test"), self.stems)

    @property
    def valid_songs(self) -> Sequence[str]:
        return tuple(track.name for track in self.tracks("valid"))

    @property
    def test_tracks(self) -> Sequence[TrackInfo]:
        return tuple(
            TrackInfo(track.name, track.samples / track.sample_rate, track.content_id())
            for track in self.tracks("test")
        )

    @property
    def refused_songs(self) -> Mapping[str, str]:
        return self._refused

    @property
    def unreadable_songs(self) -> int:
        return 0 if self._mixtures is None else len(self._mixtures.unreadable)

    def origin(self, batch: Mapping[str, Any]) -> list[str]:
        """Song and time of every source of every sample."""
        mixtures = self._mixtures or self.train_dataset()
        return [line for places in batch["places"].cpu() for line in mixtures.origin(places)]

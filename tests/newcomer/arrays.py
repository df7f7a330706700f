"""A data module over two arrays in memory: the song in one, its vocals in the other."""

import torch
from torch import Tensor

from wsa_lightning.data.dataset import Item
from wsa_lightning.training import SeparationDataModule, TrackInfo


class Excerpts:
    """Random mixtures: excerpts at a place that (epoch, index) decides."""

    def __init__(self, mixture: Tensor, vocals: Tensor, chunk: int) -> None:
        self.mixture, self.vocals, self.chunk = mixture, vocals, chunk

    def __getitem__(self, key: tuple[int, int]) -> Item:
        epoch, index = key
        start = (7919 * (1000 * epoch + index)) % (self.mixture.shape[-1] - self.chunk)
        cut = slice(start, start + self.chunk)
        return {"mixture": self.mixture[:, cut], "targets": self.vocals[None, :, cut], "track": -1, "index": index}


class ArrayData(SeparationDataModule):
    """Noise and a tone of 440 Hz, ``seconds`` long."""

    def __init__(self, seconds: float = 3.0, chunk_seconds: float = 0.5, steps_per_epoch: int = 3) -> None:
        super().__init__(chunk_seconds=chunk_seconds, batch_size=2, steps_per_epoch=steps_per_epoch, workers=0)
        time = torch.arange(round(seconds * self.sample_rate)) / self.sample_rate
        noise = 0.1 * torch.randn(2, len(time), generator=torch.Generator().manual_seed(0))
        self.vocals = 0.3 * torch.sin(2 * torch.pi * 440 * time).expand(2, -1)  # (2, N)
        self.mixture = self.vocals + noise
        self.whole: Item = {"mixture": self.mixture, "targets": self.vocals[None], "track": 0, "index": 0}
        self.seconds = seconds

    @property
    def valid_songs(self) -> tuple[str, ...]:
        return ("tone",)

    @property
    def test_tracks(self) -> tuple[TrackInfo, ...]:
        return (TrackInfo("tone", self.seconds),)

    def train_dataset(self) -> Excerpts:
        return Excerpts(self.mixture, self.vocals, self.chunk)

    def valid_dataset(self) -> list[Item]:
        return [self.whole]

    def test_dataset(self) -> list[Item]:
        return [self.whole]

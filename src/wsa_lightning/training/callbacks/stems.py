"""Where ``predict`` puts its stems."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import soundfile
from lightning.pytorch.callbacks import BasePredictionWriter
from torch import Tensor

from wsa_lightning.training.module import SeparationModule


class StemWriterCallback(BasePredictionWriter):
    """Writes every predicted song to ``FOLDER/SONG/STEM.wav``, 32-bit float so that nothing clips.

    Args:
        folder: where to write; null is ``stems`` in the run's folder.
    """

    def __init__(self, folder: Path | None = None) -> None:
        super().__init__(write_interval="batch")
        self.folder = folder

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keep no song in memory once it is written."""
        trainer.predict_loop.return_predictions = False

    def write_on_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        prediction: Tensor,
        batch_indices: Sequence[int] | None,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Write the stems (stems, C, N) of one song."""
        assert isinstance(pl_module, SeparationModule)
        if int(batch["song"]) < 0:
            return
        config = pl_module.net.config
        song = trainer.datamodule.test_songs[int(batch["song"])]  # type: ignore[attr-defined]
        folder = (self.folder or Path(trainer.default_root_dir) / "stems") / song
        folder.mkdir(parents=True, exist_ok=True)
        for stem, audio in zip(config.stems, prediction, strict=True):
            temporary = folder / f".{stem}.partial.wav"
            soundfile.write(temporary, audio.T.float().cpu().numpy(), config.sample_rate, subtype="FLOAT")
            temporary.replace(folder / f"{stem}.wav")

"""Where ``predict`` puts its stems."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import BasePredictionWriter
from torch import Tensor

from wsa_lightning.separation.outputs import Container, StemFiles, StemFormat, Subtype
from wsa_lightning.separation.songs import available_stems, choose
from wsa_lightning.training.module import SeparationModule


class StemWriterCallback(BasePredictionWriter):
    """Writes every predicted song to ``FOLDER/SONG/STEM.wav``, as the command ``separate`` does.

    Args:
        folder: where to write; null is ``stems`` in the run's folder.
        format: container, wav or flac.
        subtype: PCM_16, PCM_24, or FLOAT, which never clips.
    """

    def __init__(self, folder: Path | None = None, format: Container = "wav", subtype: Subtype = "FLOAT") -> None:
        super().__init__(write_interval="batch")
        self.folder = folder
        self.form = StemFormat(format, subtype)

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
        """Write the stems (stems, C, N) of one song, and what the mixture holds besides the vocals."""
        assert isinstance(pl_module, SeparationModule)
        if int(batch["track"]) < 0:
            return
        config = pl_module.net.config
        song = pl_module.data.test_tracks[int(batch["track"])].name
        folder = (self.folder or Path(trainer.default_root_dir) / "stems") / song
        stems = available_stems(config)
        mixture = batch["mixture"][0].T.float().cpu().numpy()  # (N, C)
        separated = prediction.permute(2, 0, 1).float().cpu().numpy()  # (N, stems, C)
        with StemFiles(folder, stems, self.form, config.sample_rate, config.channels, len(mixture)) as files:
            files.write(choose(config, stems, mixture, separated))
        for stem, level in files.levels.items():
            if level.clipped:
                print(f"{song}: {stem} clipped at {level.clipped} samples; predictions.subtype FLOAT keeps it whole")

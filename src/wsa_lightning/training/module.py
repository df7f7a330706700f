"""What teacher and student share in training: the losses, the optimizer, the validation score."""

import logging
import math
from dataclasses import replace
from typing import Any

import lightning as L
import torch
from torch import Tensor

from wsa_lightning.checkpoints.files import METADATA_KEY, network_state
from wsa_lightning.checkpoints.public import load_exactly
from wsa_lightning.errors import UserError
from wsa_lightning.losses import Estimate, check_weights, weighted_sum
from wsa_lightning.metrics import UsdrPerSong
from wsa_lightning.models import Roformer, RoformerConfig, Separated
from wsa_lightning.separation import separate

logger = logging.getLogger(__name__)


class SeparationModule(L.LightningModule):
    """A Roformer in training.

    Logs every loss term under its own name (``audio/l1``, ...), their weighted sum as ``loss``, and at validation
    ``val/usdr`` (median over songs of the uSDR over all chunks of a song, in dB), its mean and the silent songs.

    Args:
        loss: weight of each named loss term, see ``wsa_lightning.losses.TERMS``.
        learning_rate: AdamW's, at the end of the warm-up.
        weight_decay: AdamW's.
        warmup_steps: optimizer steps of linear warm-up; a cosine to ``final_lr_fraction`` follows.
        final_lr_fraction: learning rate at the last step, as a fraction of ``learning_rate``.
        backend: time attention backend, see ``wsa_lightning.attention.backends``; ``auto`` picks the best.
        activation_checkpointing: trade time for memory: recompute each layer in the backward pass.
    """

    net: Roformer

    def __init__(
        self,
        loss: dict[str, float],
        learning_rate: float = 5e-4,
        weight_decay: float = 0.01,
        warmup_steps: int = 100,
        final_lr_fraction: float = 0.05,
        backend: str = "auto",
        activation_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        check_weights(loss)
        self.loss = dict(loss)
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.warmup_steps = warmup_steps
        self.final_lr_fraction = final_lr_fraction
        self.backend = backend
        self.activation_checkpointing = activation_checkpointing
        self.val_usdr: UsdrPerSong | None = None
        self.test_usdr: UsdrPerSong | None = None

    @property
    def is_built(self) -> bool:
        """Whether the network exists yet (a student's is made once its teacher is known)."""
        return "net" in self._modules

    def build(self, config: RoformerConfig) -> Roformer:
        """Make the network."""
        self.net = Roformer(config, backend=self.backend, activation_checkpointing=self.activation_checkpointing)
        return self.net

    def forward(self, mixture: Tensor) -> Separated:
        """Mixture (B, C, N) -> audio (B, stems, C, N) and mask."""
        return self.net(mixture)

    def setup(self, stage: str) -> None:
        """Check the data against the network, and make the metrics for its songs."""
        if not self.is_built:
            return
        datamodule: Any = getattr(self.trainer, "datamodule", None)
        if datamodule is None:
            return
        config = self.net.config
        for key, ours, theirs in (
            ("data.stems", tuple(config.stems), tuple(datamodule.stems)),
            ("data.sample_rate", config.sample_rate, datamodule.sample_rate),
        ):
            if ours != theirs:
                raise UserError(f"{key} is {theirs}, the model was made for {ours}: set {key} to that")
        if stage in ("fit", "validate"):
            self.val_usdr = UsdrPerSong(len(datamodule.valid_songs), len(config.stems))
        if stage == "test":
            self.test_usdr = UsdrPerSong(len(datamodule.test_songs), len(config.stems))

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """One batch of ``data.dataset.Item``s; a teacher may have added ``teacher_mask`` and ``spectrum``."""
        audio, mask = self(batch["mixture"])
        total, terms = weighted_sum(
            self.loss,
            Estimate(audio, batch["targets"], mask, batch.get("teacher_mask"), batch.get("spectrum")),
        )
        self.log("loss", total, prog_bar=True)
        self.log_dict(terms)
        return total

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Fixed chunks; energies go to their song."""
        separated: Separated = self(batch["mixture"])
        assert self.val_usdr is not None
        self.val_usdr.update(separated.audio, batch["targets"], batch["song"])

    def on_validation_epoch_end(self) -> None:
        """Log the scores of all songs."""
        assert self.val_usdr is not None
        scores = self.val_usdr.compute()
        self.log_dict(
            {
                "val/usdr": scores.median.float(),
                "val/usdr_mean": scores.mean.float(),
                "val/silent_songs": scores.silent.float(),
            },
            prog_bar=True,
        )
        self.val_usdr.reset()

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """A whole song."""
        estimate = self._separate(batch)
        assert self.test_usdr is not None
        self.test_usdr.update(estimate[None], batch["targets"], batch["song"])

    def on_test_epoch_end(self) -> None:
        """Log the scores of all songs."""
        assert self.test_usdr is not None
        scores = self.test_usdr.compute()
        self.log_dict(
            {
                "test/usdr": scores.median.float(),
                "test/usdr_mean": scores.mean.float(),
                "test/silent_songs": scores.silent.float(),
            }
        )
        self.test_usdr.reset()

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """A whole song (1, C, N) -> stems (stems, C, N)."""
        return self._separate(batch)

    def _separate(self, batch: dict[str, Any]) -> Tensor:
        """A whole song, in chunks of the length trained on."""
        rate = self.net.config.sample_rate
        chunk: int = self.trainer.datamodule.chunk  # type: ignore[attr-defined]
        return separate(self.net, batch["mixture"][0], rate, chunk_seconds=chunk / rate)

    def configure_optimizers(self) -> Any:
        """AdamW with linear warm-up and cosine decay, both per optimizer step."""
        optimizer = torch.optim.AdamW(
            self.net.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay, betas=(0.9, 0.99)
        )
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: self._learning_rate_factor(step, steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _learning_rate_factor(self, step: int, steps: int) -> float:
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        progress = min(1.0, (step - self.warmup_steps) / max(1, steps - self.warmup_steps))
        return self.final_lr_fraction + (1 - self.final_lr_fraction) * (1 + math.cos(math.pi * progress)) / 2

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the architecture as plain data, so that the file describes itself."""
        checkpoint[METADATA_KEY] = {"config": self.net.config.to_dict()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check that the tensors fit, or build the network from the checkpoint if there is none yet."""
        if METADATA_KEY not in checkpoint:
            raise UserError("this checkpoint was not written by wsa-lightning: open it with --distillation.teacher")
        config = RoformerConfig.from_dict(checkpoint[METADATA_KEY]["config"])
        if not self.is_built:
            self.build(config)
            self.setup(str(self.trainer.state.fn.value) if self.trainer.state.fn else "")
        own = self.net.config
        if own.window != config.window:
            logger.warning(
                "the checkpoint was trained with window %s; using %s, as configured", config.window, own.window
            )
        if replace(config, window=own.window) != own:
            theirs, ours = config.to_dict(), own.to_dict()
            changed = [f"{key} {theirs[key]} -> {ours[key]}" for key in ours if ours[key] != theirs[key]]
            raise UserError(
                f"the checkpoint's architecture differs from this run's ({', '.join(changed)}): "
                "use the options it was trained with"
            )
        load_exactly(self.net, network_state(checkpoint["state_dict"]))

    def on_validation_start(self) -> None:
        """Insist on a network."""
        self._insist_on_network()

    def on_test_start(self) -> None:
        """Insist on a network."""
        self._insist_on_network()

    def on_predict_start(self) -> None:
        """Insist on a network."""
        self._insist_on_network()

    def _insist_on_network(self) -> None:
        if not self.is_built:
            raise UserError("there is no model to run: pass --ckpt_path FILE, or --distillation.teacher FILE")

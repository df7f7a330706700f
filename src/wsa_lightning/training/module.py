"""What teacher and student share in training: the losses, the optimizer, the validation score."""

import math
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
        precision = str(self.trainer.precision)
        if precision in ("16-true", "bf16-true", "transformer-engine", "transformer-engine-float16"):
            raise UserError(
                f"trainer.precision is {precision}: expected 32-true, bf16-mixed or 16-mixed, STFT and norms need fp32"
            )
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
        self.log("loss", total, prog_bar=True, sync_dist=True)
        self.log_dict(terms, sync_dist=True)
        return total

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Fixed chunks; energies go to their song."""
        separated: Separated = self(batch["mixture"])
        assert self.val_usdr is not None
        self.val_usdr.update(separated.audio, batch["targets"], batch["song"])

    def on_validation_epoch_end(self) -> None:
        """Log the scores of all songs."""
        self._log_scores("val", self.val_usdr)

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """A whole song."""
        estimate = self._separate(batch)
        assert self.test_usdr is not None
        self.test_usdr.update(estimate[None], batch["targets"], batch["song"])

    def on_test_epoch_end(self) -> None:
        """Log the scores of all songs."""
        self._log_scores("test", self.test_usdr)

    def _log_scores(self, split: str, metric: UsdrPerSong | None) -> None:
        assert metric is not None
        scores = metric.compute()
        self.log_dict(
            {
                f"{split}/usdr": scores.median.float(),
                f"{split}/usdr_mean": scores.mean.float(),
                f"{split}/silent_songs": scores.silent.float(),
            },
            prog_bar=True,
        )
        metric.reset()

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
        steps = self._planned_steps()
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: self._learning_rate_factor(step, steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _planned_steps(self) -> int:
        """Optimizer steps of the whole run.

        Asking the trainer (``estimated_stepping_batches``) would build the training loader before a resumed run's
        progress is restored, and so start it at the wrong sample.
        """
        trainer = self.trainer
        datamodule: Any = getattr(trainer, "datamodule", None)
        if datamodule is None:
            return int(trainer.estimated_stepping_batches)
        batches, limit = datamodule.steps_per_epoch, trainer.limit_train_batches
        batches = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
        epochs, most = trainer.max_epochs, trainer.max_steps
        steps = [most] if most >= 0 else []
        if epochs is not None and epochs >= 0:
            steps.append(epochs * math.ceil(batches / trainer.accumulate_grad_batches))
        if not steps:
            raise UserError("trainer.max_epochs and trainer.max_steps are unlimited: set one, the cosine needs an end")
        return max(1, min(steps))

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
        config = self.configured(RoformerConfig.from_dict(checkpoint[METADATA_KEY]["config"]))
        stage = str(self.trainer.state.fn.value) if self.trainer.state.fn else ""
        if stage == "fit":
            self._keep_configured_optimizer(checkpoint)
        if not self.is_built or stage in ("test", "predict"):
            self.build(config)
            self.setup(stage)
        ours, theirs = self.net.config.to_dict(), config.to_dict()
        if changed := [f"{key} {theirs[key]} -> {ours[key]}" for key in ours if ours[key] != theirs[key]]:
            raise UserError(
                f"the checkpoint's architecture differs from this run's ({', '.join(changed)}): "
                "use the options it was trained with"
            )
        load_exactly(self.net, network_state(checkpoint["state_dict"]))

    def configured(self, config: RoformerConfig) -> RoformerConfig:
        """A checkpoint's architecture, with what this module's own options say instead."""
        return config

    def _keep_configured_optimizer(self, checkpoint: dict[str, Any]) -> None:
        """Let the options beat the learning rate and weight decay that the checkpoint's optimizer was made with."""
        for optimizer in checkpoint.get("optimizer_states", []):
            for group in optimizer["param_groups"]:
                group["lr"] *= self.learning_rate / group["initial_lr"]
                group["initial_lr"], group["weight_decay"] = self.learning_rate, self.weight_decay
        for schedule in checkpoint.get("lr_schedulers", []):
            schedule["base_lrs"] = [self.learning_rate for _ in schedule["base_lrs"]]

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

"""What teacher and student share in training: the losses, the optimizer, the validation score."""

import math
from dataclasses import replace
from typing import Any

import lightning as L
import torch
from torch import Tensor

from wsa_lightning.checkpoints.difference import load_exactly
from wsa_lightning.checkpoints.tensor_files import METADATA_KEY, network_state
from wsa_lightning.errors import UserError
from wsa_lightning.losses import Estimate, check_weights, taps_needed, weighted_sum
from wsa_lightning.metrics import UsdrPerSong
from wsa_lightning.models import Roformer, RoformerConfig, Separated
from wsa_lightning.models.taps import tapped
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
        sink_learning_rate: the sinks' own peak, without weight decay, on the same schedule; None trains them like all
            else. Sinks are few numbers that must travel far, and RMSNorm takes away their scale.
        backend: time attention backend, see ``wsa_lightning.attention.backends``; ``auto`` picks the best.
        activation_checkpointing: trade time for memory: recompute each layer in the backward pass.
        compile: compile the network's layers with ``torch.compile``; needs a compiler, and waits for it at first.
    """

    net: Roformer

    def __init__(
        self,
        loss: dict[str, float],
        learning_rate: float = 5e-4,
        weight_decay: float = 0.01,
        warmup_steps: int = 100,
        final_lr_fraction: float = 0.05,
        sink_learning_rate: float | None = None,
        backend: str = "auto",
        activation_checkpointing: bool = False,
        compile: bool = False,
    ) -> None:
        super().__init__()
        check_weights(loss)
        for key, value in (
            ("learning_rate", learning_rate),
            ("weight_decay", weight_decay),
            ("sink_learning_rate", 0.0 if sink_learning_rate is None else sink_learning_rate),
        ):
            if not (math.isfinite(value) and value >= 0):  # torch looks at its defaults alone, not at groups
                raise UserError(f"model.{key} is {value}: expected a finite number >= 0")
        if compile and (taps := taps_needed(loss)):
            raise UserError(
                f"model.compile is true and model.loss looks at {', '.join(sorted(taps))} states inside the layers, "
                "which compiled layers do not show: set model.compile false, or leave those terms out"
            )
        self.loss = dict(loss)
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.warmup_steps = warmup_steps
        self.final_lr_fraction = final_lr_fraction
        self.sink_learning_rate = sink_learning_rate
        self.backend = backend
        self.activation_checkpointing = activation_checkpointing
        self.terms: dict[str, Tensor] = {}
        self.compiled = compile
        self.val_usdr: UsdrPerSong | None = None

    @property
    def is_built(self) -> bool:
        """Whether the network exists yet (a student's is made once its teacher is known)."""
        return "net" in self._modules

    def build(self, config: RoformerConfig) -> Roformer:
        """Make the network."""
        self.net = Roformer(config, backend=self.backend, activation_checkpointing=self.activation_checkpointing)
        if self.compiled:
            self.net.compile_layers()
        return self.net

    def take(self, network: Roformer) -> None:
        """Become a copy of ``network`` as it is: no option of this module changes it."""
        self.build(network.config).load_state_dict(network.state_dict())

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
        if stage == "fit":
            self.net.config = replace(config, chunk_seconds=datamodule.chunk / datamodule.sample_rate)
        if stage in ("fit", "validate"):
            self.val_usdr = UsdrPerSong(len(datamodule.valid_songs), len(config.stems))

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """One batch of ``data.dataset.Item``s; a teacher may have added its mask, its features and bins' weights."""
        with tapped(self.net, taps_needed(self.loss)) as features:
            audio, mask = self(batch["mixture"])
        taught = {name: batch.get(name) for name in ("teacher_mask", "teacher_features", "mask_weight")}
        total, terms = weighted_sum(self.loss, Estimate(audio, batch["targets"], mask, features=features, **taught))
        self.terms = {name: value.detach() for name, value in terms.items()}
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
        """Nothing: ``EvaluationCallback`` separates and scores, for the teacher too, and outlives a song that fails."""

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """A whole song (1, C, N) -> stems (stems, C, N)."""
        return self.separate_song(batch["mixture"][0])

    def separate_song(self, mixture: Tensor, net: Roformer | None = None) -> Tensor:
        """A whole song (C, N) -> (stems, C, N) as the command ``separate`` does it, by this network or another."""
        net = net or self.net
        return separate(net, mixture, net.config.sample_rate)

    def configure_optimizers(self) -> Any:
        """AdamW with linear warm-up and cosine decay, both per optimizer step."""
        optimizer = torch.optim.AdamW(self._parameter_groups(), betas=(0.9, 0.99))
        steps = self.planned_steps()
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: self._learning_rate_factor(step, steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _parameter_groups(self) -> list[dict[str, Any]]:
        """The network, and the sinks apart where they have a learning rate of their own."""
        if self.sink_learning_rate is not None and not self.net.config.sinks:
            raise UserError(
                f"model.sink_learning_rate is {self.sink_learning_rate}, but the model has no sinks: set it to null"
            )
        own = {"lr": self.learning_rate, "weight_decay": self.weight_decay}
        if self.sink_learning_rate is None:
            return [{"params": list(self.net.parameters()), **own}]
        body = [parameter for name, parameter in self.net.named_parameters() if name != "sinks"]
        sinks = {"params": [self.net.sinks], "lr": self.sink_learning_rate, "weight_decay": 0.0}
        return [{"name": "network", "params": body, **own}, {"name": "sinks", **sinks}]

    def planned_steps(self) -> int:
        """Optimizer steps of the whole run.

        Asking the trainer (``estimated_stepping_batches``) would build the training loader before a resumed run's
        progress is restored, and so start it at the wrong sample.
        """
        trainer = self.trainer
        datamodule: Any = getattr(trainer, "datamodule", None)
        if datamodule is None:
            return int(trainer.estimated_stepping_batches)
        batches = datamodule.batches_per_epoch
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
        # Another length of chunks is another training, not another architecture.
        ours, theirs = self.net.config.to_dict(), config.to_dict() | {"chunk_seconds": self.net.config.chunk_seconds}
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
        """Let the options beat the learning rates and weight decay that the checkpoint's optimizer was made with."""
        steps = self.planned_steps()
        ours = [(group["lr"], group["weight_decay"]) for group in self._parameter_groups()]
        for optimizer in checkpoint.get("optimizer_states", []):
            if len(optimizer["param_groups"]) != len(ours):
                raise UserError(
                    f"model.sink_learning_rate is {self.sink_learning_rate}, but the checkpoint was trained "
                    f"{'with' if self.sink_learning_rate is None else 'without'} one: use the options it was trained "
                    "with, or start afresh without --ckpt_path"
                )
        for optimizer, schedule in zip(
            checkpoint.get("optimizer_states", []), checkpoint.get("lr_schedulers", []), strict=True
        ):
            schedule["base_lrs"] = [rate for rate, _ in ours]
            factor = self._learning_rate_factor(schedule["last_epoch"], steps)
            for group, (rate, decay) in zip(optimizer["param_groups"], ours, strict=True):
                group["lr"], group["initial_lr"], group["weight_decay"] = rate * factor, rate, decay

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

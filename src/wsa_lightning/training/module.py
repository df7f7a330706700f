"""What teacher and student share in training: the network, the loss, the optimizer, the validation score."""

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import lightning as L
import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from wsa_lightning.checkpoints import load
from wsa_lightning.checkpoints.difference import load_exactly
from wsa_lightning.checkpoints.model_files import is_resumable, resolve_path
from wsa_lightning.checkpoints.tensor_files import METADATA_KEY, network_state, read
from wsa_lightning.errors import UserError
from wsa_lightning.losses import Estimate, Loss, Taught
from wsa_lightning.metrics import UsdrPerTrack
from wsa_lightning.models import Roformer, RoformerConfig, Separated
from wsa_lightning.models.taps import tapped
from wsa_lightning.ranges import NonNegativeFloat
from wsa_lightning.reliability.internals import datamodule_of
from wsa_lightning.separation import separate
from wsa_lightning.training.data_protocol import SeparationDataModule
from wsa_lightning.training.frozen_teacher import FrozenTeacher
from wsa_lightning.training.optimization import OPTIMIZER_KEY, SCHEDULE_KEY, Optimization, class_name

TRACK_ERRORS = (UserError, OSError, MemoryError, RuntimeError)
"""What may go wrong with one track alone: unreadable audio, another rate, no memory (torch raises RuntimeErrors)."""


class SeparationModule(L.LightningModule):
    """A Roformer in training.

    Logs every loss term under its own name (``audio/l1``, ...), their weighted sum as ``loss``, and at validation
    ``val/usdr`` (median over songs of the uSDR over all chunks of a song, in dB), its mean and the silent songs.

    Args:
        loss: the terms of the loss, see ``wsa_lightning.losses.Loss``.
        optimizer: parameter groups to an optimizer.
        lr_scheduler: an optimizer to a schedule, which takes a step after every optimizer step; None for none.
        sink_learning_rate: the sinks' own peak, without weight decay, on the same schedule; None trains them like all
            other parameters. Sinks are few numbers that must travel far, and RMSNorm takes away their scale.
        backend: time attention backend, see ``wsa_lightning.attention.backends``; ``auto`` picks the best.
        activation_checkpointing: trade time for memory: recompute each layer in the backward pass.
        compile: compile the network's layers with ``torch.compile``; needs a compiler, and waits for it at first.

    Attributes:
        net: the network, which ``configure_model`` makes.
        teacher: the teacher that ``DistillationCallback`` owns; None without one.
        model_file: what will be validated, tested or predicted with; None for none. Of a Lightning checkpoint the
            architecture is taken (Lightning tells its path too late); any other is used whatever the options say.
    """

    net: Roformer

    def __init__(
        self,
        loss: dict[str, float | dict[str, float]],
        optimizer: OptimizerCallable = torch.optim.AdamW,
        lr_scheduler: LRSchedulerCallable | None = None,
        sink_learning_rate: NonNegativeFloat | None = None,
        backend: str = "auto",
        activation_checkpointing: bool = False,
        compile: bool = False,
    ) -> None:
        super().__init__()
        self.loss = Loss(loss)
        if compile and self.loss.taps:
            raise UserError(
                f"model.compile is true and model.loss looks at {', '.join(sorted(self.loss.taps))} states inside the "
                "layers, which compiled layers do not show: set model.compile false, or leave those terms out"
            )
        self.optimization = Optimization(optimizer, lr_scheduler, sink_learning_rate)
        self.backend, self.activation_checkpointing, self.compiled = backend, activation_checkpointing, compile
        self.teacher: FrozenTeacher | None = None
        self.model_file: str | None = None
        self._taught: Taught | None = None
        self._terms: dict[str, Tensor] = {}

    @abstractmethod
    def initial_network(self) -> Roformer | RoformerConfig:
        """The network to begin with, or the architecture of a random one."""

    def adapted(self, config: RoformerConfig) -> RoformerConfig:
        """A checkpoint's architecture, changed where this module's own options differ from it."""
        return config

    @property
    def data(self) -> SeparationDataModule:
        """The trainer's data module.

        Raises:
            UserError: it is not a ``SeparationDataModule``.
        """
        found = datamodule_of(self.trainer)
        if not isinstance(found, SeparationDataModule):
            raise UserError(f"the data is a {type(found).__name__}: expected a SeparationDataModule")
        return found

    def configure_model(self) -> None:
        """Make the network, the only place that does.

        Lightning calls this after every ``setup`` and before a checkpoint is loaded; the average of the weights calls
        it earlier. It comes from a model file, from the checkpoint that is validated, tested or predicted with, or is
        the initial one, which a resumed ``fit`` then loads its weights into.
        """
        if "net" not in self._modules:
            self._make_network()
        self._check_data()

    def _make_network(self) -> None:
        source = self._network_source()
        config = source if isinstance(source, RoformerConfig) else source.config
        self.net = Roformer(config, backend=self.backend, activation_checkpointing=self.activation_checkpointing)
        if isinstance(source, Roformer):
            self.net.load_state_dict(source.state_dict())
        if self.compiled:
            self.net.compile_layers()

    def _network_source(self) -> Roformer | RoformerConfig:
        if self.model_file is None:
            return self.initial_network()
        file = resolve_path(self.model_file)
        if not is_resumable(file):
            return load(self.model_file)
        _, config = read(file)
        assert config is not None  # every resumable file has one
        return self.adapted(RoformerConfig.from_dict(config))

    def _check_data(self) -> None:
        config, data = self.net.config, self.data
        for key, ours, theirs in (
            ("data.stems", tuple(config.stems), data.stems),
            ("data.sample_rate", config.sample_rate, data.sample_rate),
        ):
            if ours != theirs:
                raise UserError(f"{key} is {theirs}, the model was made for {ours}: set {key} to that")
        if self.trainer.state.fn == TrainerFn.FITTING:
            self.net.config = replace(config, chunk_seconds=data.chunk / data.sample_rate)

    def setup(self, stage: str) -> None:
        """Refuse a precision in which STFT and norms lose too much."""
        precision = str(self.trainer.precision)
        if precision in ("16-true", "bf16-true", "transformer-engine", "transformer-engine-float16"):
            raise UserError(
                f"trainer.precision is {precision}: expected 32-true, bf16-mixed or 16-mixed, STFT and norms need fp32"
            )

    def forward(self, mixture: Tensor) -> Separated:
        """Mixture (B, C, N) -> audio (B, stems, C, N) and mask."""
        return self.net(mixture)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Student, teacher and loss, for one batch of ``data.dataset.Item``."""
        if self.teacher is not None and "teacher" in self.loss.needs:
            mean = partial(self.trainer.strategy.reduce, reduce_op="mean")
            self._taught = self.teacher.teach(batch["mixture"], self.loss.needs, mean)
        with tapped(self.net, self.loss.taps) as features:
            audio, mask = self(batch["mixture"])  # (B, stems, C, N), (B, stems, C, F, T)
        total, terms = self.loss(Estimate(audio, batch["targets"], mask, features, self._taught))
        self._terms = {name: value.detach() for name, value in terms.items()}
        self.log("loss", total, prog_bar=True, sync_dist=True)
        self.log_dict(terms, sync_dist=True)
        self.log("data/unreadable", float(self.data.unreadable_songs))
        return total

    def step_inputs(self) -> Mapping[str, Tensor]:
        """What the last step used besides its batch, for ``FiniteCallback``."""
        return {} if self._taught is None else {"teacher_mask": self._taught.mask}

    def step_terms(self) -> Mapping[str, Tensor]:
        return self._terms

    def origin(self, batch: Mapping[str, Any]) -> Sequence[str]:
        """Where a batch's samples come from, in words."""
        return self.data.origin(batch)

    def on_validation_start(self) -> None:
        self._taught = None  # its memory is not needed now
        tracks, stems = len(self.data.valid_songs), len(self.net.config.stems)
        self.val_usdr = UsdrPerTrack(tracks, stems).to(self.device)
        self.teacher_usdr = UsdrPerTrack(tracks, stems).to(self.device)

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Score fixed chunks, the teacher's once: chunks and teacher never change."""
        self.val_usdr.update(self(batch["mixture"]).audio, batch["targets"], batch["track"])
        if self.teacher is not None and self.teacher.score is None:
            with torch.no_grad():
                audio = self.teacher.network(batch["mixture"]).audio
            self.teacher_usdr.update(audio, batch["targets"], batch["track"])

    def on_validation_epoch_end(self) -> None:
        own = self.val_usdr.compute()
        scores = {"val/usdr": own.median, "val/usdr_mean": own.mean, "val/silent_songs": own.silent}
        self.log_dict({name: score.float() for name, score in scores.items()}, prog_bar=True)
        if self.teacher is not None:
            self._compare(self.teacher, float(own.median))

    def _compare(self, teacher: FrozenTeacher, student: float) -> None:
        """Log the student beside the teacher, and keep its score at step 0."""
        checking = self.trainer.sanity_checking
        is_whole = not checking or self.trainer.num_sanity_val_steps == math.inf
        score = teacher.score
        if score is None:
            score = float(self.teacher_usdr.compute().median)
        if is_whole:
            teacher.score = score
        if checking and is_whole and self.trainer.global_step == 0:
            teacher.baseline = student
        scores = teacher.compare(student, score)
        if not checking:
            self.log_dict(scores)
        elif is_whole:
            # Lightning logs nothing during this validation, and the curves should begin with the student at step 0.
            for logger in self.trainer.loggers:
                logger.log_metrics({"val/usdr": student, **scores}, step=self.trainer.global_step)

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor | Mapping[str, Any] | None:
        """A whole track to its stems (stems, C, N), or ``{"error": REASON}``; None for a repeat of a track."""
        if int(batch["track"]) < 0:
            return None
        if "error" in batch:
            return {"error": str(batch["error"][0])}
        try:
            return self.separate_song(batch["mixture"][0]).cpu()
        except TRACK_ERRORS as error:
            return {"error": str(error) or type(error).__name__}

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """A whole track (1, C, N) to its stems (stems, C, N)."""
        if int(batch["track"]) < 0:
            return torch.empty(0)  # a repeat, which StemWriterCallback leaves out
        if "error" in batch:
            raise UserError(str(batch["error"][0]))
        return self.separate_song(batch["mixture"][0])

    def separate_song(self, mixture: Tensor, net: Roformer | None = None) -> Tensor:
        """A whole track (C, N) to (stems, C, N) as the command ``separate`` does it, by this network or another."""
        net = net or self.net
        return separate(net, mixture, net.config.sample_rate)

    def configure_optimizers(self) -> Any:
        """The optimizer, and the schedule where there is one, a step of it per optimizer step."""
        optimizer, schedule = self.optimization.make(self.net, self.planned_steps())
        if schedule is None:
            return optimizer
        # ReduceLROnPlateau of LightningCLI names what it monitors.
        monitored = {"monitor": schedule.monitor, "interval": "epoch"} if hasattr(schedule, "monitor") else {}
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step", **monitored}}

    def planned_steps(self) -> int:
        """Optimizer steps of the whole run.

        Asking the trainer (``estimated_stepping_batches``) would build the training loader before a resumed run's
        progress is restored, and so start it at the wrong sample.
        """
        trainer = self.trainer
        epochs, most = trainer.max_epochs, trainer.max_steps
        steps = [most] if most >= 0 else []
        if epochs is not None and epochs >= 0:
            steps.append(epochs * math.ceil(self.data.batches_per_epoch / trainer.accumulate_grad_batches))
        if not steps:
            raise UserError("trainer.max_epochs and trainer.max_steps are unlimited: set one, a schedule needs an end")
        return max(1, min(steps))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the architecture as plain data, so that the file describes itself."""
        checkpoint[METADATA_KEY] = {"config": self.net.config.to_dict()}
        if self.trainer.optimizers:
            schedules = [config.scheduler for config in self.trainer.lr_scheduler_configs]
            checkpoint[OPTIMIZER_KEY] = class_name(self.trainer.optimizers[0])
            checkpoint[SCHEDULE_KEY] = class_name(schedules[0] if schedules else None)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check that the weights fit, and let this run's options replace the optimizer's.

        Raises:
            UserError: the checkpoint is not one of ours, or has another architecture or optimizer.
        """
        if METADATA_KEY not in checkpoint:
            raise UserError("this checkpoint was not written by wsa-lightning: open it with --distillation.teacher")
        theirs = self.adapted(RoformerConfig.from_dict(checkpoint[METADATA_KEY]["config"])).to_dict()
        # Another length of chunks is another training, not another architecture.
        ours, theirs = self.net.config.to_dict(), theirs | {"chunk_seconds": self.net.config.chunk_seconds}
        if changed := [
            f"{key} {theirs.get(key)} -> {ours.get(key)}"
            for key in {**ours, **theirs}
            if ours.get(key) != theirs.get(key)
        ]:
            raise UserError(
                f"the checkpoint's architecture differs from this run's ({', '.join(changed)}): "
                "use the options it was trained with"
            )
        load_exactly(self.net, network_state(checkpoint["state_dict"]))
        if self.trainer.state.fn == TrainerFn.FITTING:
            self.optimization.keep_options(checkpoint, self.net, self.planned_steps())

"""The distillation callback: it owns the frozen teacher and hands its mask to the student's step."""

import logging
import math
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor

from wsa_lightning.checkpoints import load
from wsa_lightning.checkpoints.model_files import file_hash, resolve_path
from wsa_lightning.errors import UserError
from wsa_lightning.losses import taps_needed
from wsa_lightning.metrics import UsdrPerSong
from wsa_lightning.models import Roformer
from wsa_lightning.models.taps import tapped
from wsa_lightning.training.module import SeparationModule
from wsa_lightning.training.student import StudentModule

logger = logging.getLogger(__name__)


class DistillationCallback(L.Callback):
    """Loads the teacher, makes the student from it, and feeds the teacher's mask to every training step.

    The teacher is frozen, runs without gradients in the trainer's precision, and stays outside the student's
    parameters, optimizer, DDP and checkpoint; the checkpoint remembers its hash, and resuming with another
    teacher is refused.

    Logs at validation, all from the same fixed chunks:
        ``val/teacher_usdr``: the teacher's median uSDR in dB;
        ``val/delta_db``: student minus teacher, in dB;
        ``val/retained``: student / teacher, the paper's figure (both in dB);
        ``val/recovered``: (student - student at step 0) / (teacher - student at step 0), the share of what the
        window cost that training won back. Step 0 is measured by the validation before training
        (``trainer.num_sanity_val_steps: -1``).

    Args:
        teacher: a model file (ours or public), ``small-teacher`` for the shipped one, or null for no teacher.
        config: the YAML of a public teacher file; null takes the one beside it, if there is one.
    """

    def __init__(self, teacher: str | None = "small-teacher", config: Path | None = None) -> None:
        self.path, self.config = teacher, config
        self.teacher: Roformer | None = None
        self.teacher_hash: str | None = None
        self.baseline: float | None = None
        self._fitting = False
        self.teacher_score: float | None = None
        self._teacher_usdr: UsdrPerSong | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Load the teacher and make the student from it; a checkpoint's weights may follow."""
        self._fitting = stage == "fit"
        if self.path is None or not isinstance(pl_module, StudentModule):
            return
        if stage in ("test", "predict") and not resolve_path(self.path).is_file():
            if stage == "test":
                logger.warning("distillation.teacher %s is missing: the student is scored alone", self.path)
            return  # a student's checkpoint describes itself
        self.teacher = load(self.path, config=self.config).requires_grad_(False).eval()
        self.teacher_hash = file_hash(self.path)
        if not pl_module.is_built:
            looks_at_music = pl_module.sink_start == "frames"
            pl_module.adopt(self.teacher, trainer.datamodule.some_mixtures() if looks_at_music else None)  # type: ignore[attr-defined]

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Move the teacher to this rank's device."""
        if self.teacher is not None:
            self.teacher.to(pl_module.device)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Prepare to score the teacher, unless its score is known: chunks and teacher never change."""
        if self.teacher is None or self.teacher_score is not None:
            return
        self.teacher.to(pl_module.device)
        songs = trainer.datamodule.valid_songs  # type: ignore[attr-defined]
        self._teacher_usdr = UsdrPerSong(len(songs), len(self.teacher.config.stems)).to(pl_module.device)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Put the teacher's mask and features and the weights of the mask's bins into the batch."""
        if self.teacher is None or not isinstance(pl_module, SeparationModule) or not _needs_teacher(pl_module):
            return
        with torch.no_grad(), trainer.precision_plugin.forward_context():
            spectrum = self.teacher.spectral(batch["mixture"])  # (B, C, F, T)
            with tapped(self.teacher, taps_needed(pl_module.loss)) as features:
                batch["teacher_mask"] = self.teacher.estimate_mask(spectrum)  # (B, stems, C, F, T)
            batch["teacher_features"] = features
            if pl_module.loss.get("distill/mask_weighted"):
                batch["mask_weight"] = _mask_weight(trainer, spectrum)  # (B, C, F, T)

    def on_validation_batch_start(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Score the teacher on the same chunks, once."""
        if self._teacher_usdr is None or self.teacher is None:
            return
        with torch.no_grad(), trainer.precision_plugin.forward_context():
            audio = self.teacher(batch["mixture"]).audio
        self._teacher_usdr.update(audio, batch["targets"], batch["song"])

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log teacher, difference, retained and recovered; keep the student's score at step 0."""
        if self.teacher is None or not isinstance(pl_module, SeparationModule) or pl_module.val_usdr is None:
            return
        whole = not trainer.sanity_checking or trainer.num_sanity_val_steps == math.inf
        student = float(pl_module.val_usdr.compute().median)
        teacher = self._score_teacher(keep=whole)
        if trainer.sanity_checking and whole:
            self.baseline = student
        scores = self.compare(student, teacher)
        if not trainer.sanity_checking:
            pl_module.log_dict(scores)
        elif whole and trainer.logger is not None:
            # Lightning logs nothing during this validation, and the curves should begin where the student does.
            trainer.logger.log_metrics({"val/usdr": student, **scores}, step=0)

    def compare(self, student: float, teacher: float) -> dict[str, float]:
        """The four figures of the class docstring from two median uSDRs in dB."""
        scores = {
            "val/teacher_usdr": teacher,
            "val/delta_db": student - teacher,
            "val/retained": student / teacher if teacher > 0 else math.nan,
        }
        if self.baseline is not None and teacher != self.baseline:
            scores["val/recovered"] = (student - self.baseline) / (teacher - self.baseline)
        return scores

    def _score_teacher(self, *, keep: bool) -> float:
        if self.teacher_score is not None:
            return self.teacher_score
        assert self._teacher_usdr is not None
        score = float(self._teacher_usdr.compute().median)
        self._teacher_usdr = None
        self.teacher_score = score if keep else None
        return score

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run must know: whose student this is, and where it began."""
        return {"teacher_hash": self.teacher_hash, "baseline": self.baseline}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Refuse to go on with another teacher."""
        theirs = state_dict["teacher_hash"]
        if self._fitting and self.teacher_hash is not None and theirs is not None and theirs != self.teacher_hash:
            raise UserError(
                f"distillation.teacher is {self.path} (sha256 {self.teacher_hash[:12]}), but the checkpoint's student "
                f"was distilled from another (sha256 {theirs[:12]}): pass that one, or start afresh without --ckpt_path"
            )
        if None not in (self.teacher_hash, theirs) and self.teacher_hash != theirs:
            logger.warning(
                "distillation.teacher is %s, but this student was distilled from another: scored beside it", self.path
            )
        self.baseline = state_dict["baseline"]


def _mask_weight(trainer: L.Trainer, spectrum: Tensor) -> Tensor:
    """Magnitudes over their mean in the batch of all processes, so that these learn what one would from all of it."""
    magnitude = spectrum.abs()
    mean: Tensor = trainer.strategy.reduce(magnitude.mean(), reduce_op="mean")
    return magnitude / mean.clamp_min(1e-12)


def _needs_teacher(module: SeparationModule) -> bool:
    """Whether a loss term of positive weight looks at the teacher: else its forward pass is saved."""
    return any(weight for name, weight in module.loss.items() if name.startswith("distill/"))

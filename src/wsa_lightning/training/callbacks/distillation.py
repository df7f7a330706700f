"""The distillation callback: it owns the frozen teacher and gives it to the student."""

import logging
from pathlib import Path
from typing import Any

import lightning as L

from wsa_lightning.checkpoints.model_files import resolve_path
from wsa_lightning.errors import UserError
from wsa_lightning.training.frozen_teacher import FrozenTeacher
from wsa_lightning.training.student import StudentModule

logger = logging.getLogger(__name__)


class DistillationCallback(L.Callback):
    """Loads the teacher and sets ``StudentModule.teacher``, from which the student is made and taught.

    The teacher is frozen, runs without gradients in the trainer's precision, and stays outside the student's
    parameters, optimizer, DDP and checkpoint; the checkpoint stores its hash, and resuming with another
    teacher is refused. One training step: ``SeparationModule.training_step``.

    The module logs at validation, all from the same fixed chunks:
        ``val/teacher_usdr``: the teacher's median uSDR in dB;
        ``val/delta_db``: student minus teacher, in dB;
        ``val/retained``: student / teacher, the paper's figure (both in dB);
        ``val/recovered``: (student - student at step 0) / (teacher - student at step 0), the share of what the
        window cost that training recovered. Step 0 is measured by the validation before training
        (``trainer.num_sanity_val_steps: -1``).

    Args:
        teacher: a model file (ours or public), ``small-teacher`` for the shipped one, or null for no teacher.
        config: the YAML of a public teacher file; null takes the one beside it, if there is one.
    """

    def __init__(self, teacher: str | None = "small-teacher", config: Path | None = None) -> None:
        self.path, self.config = teacher, config
        self.teacher: FrozenTeacher | None = None
        self._stage = ""

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Load the teacher, before Lightning asks the student to configure its network."""
        self._stage = stage
        if self.path is None or not isinstance(pl_module, StudentModule):
            return
        if stage in ("test", "predict") and not resolve_path(self.path).is_file():
            if stage == "test":
                logger.warning("distillation.teacher %s is missing: the student is scored alone", self.path)
            return  # a student's checkpoint describes itself
        self.teacher = pl_module.teacher = FrozenTeacher(self.path, self.config)
        self.teacher.network.to(trainer.strategy.root_device)

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.teacher is not None and isinstance(pl_module, StudentModule) and pl_module.is_other_than_checkpoint:
            self.teacher.baseline = None

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run must know: the teacher's hash, and the student's score at step 0."""
        if self.teacher is None:
            return {"teacher_hash": None, "baseline": None}
        return {"teacher_hash": self.teacher.sha256, "baseline": self.teacher.baseline}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if self.teacher is None:
            return
        ours, theirs = self.teacher.sha256, state_dict["teacher_hash"]
        self.teacher.baseline = state_dict["baseline"]
        if theirs is None or theirs == ours:
            return
        if self._stage == "fit":
            raise UserError(
                f"distillation.teacher is {self.path} (sha256 {ours[:12]}), but the checkpoint's student "
                f"was distilled from another (sha256 {theirs[:12]}): pass that one, or start again without --ckpt_path"
            )
        logger.warning(
            "distillation.teacher is %s, but this student was distilled from another: both are scored", self.path
        )

"""A student: the teacher's architecture and weights, its time attention narrowed to a window and sinks."""

import logging
from dataclasses import replace
from typing import Any

from wsa_lightning.checkpoints import to_student
from wsa_lightning.errors import UserError
from wsa_lightning.models import Roformer, RoformerConfig
from wsa_lightning.training.module import SeparationModule

logger = logging.getLogger(__name__)


class StudentModule(SeparationModule):
    """The teacher with windowed sink attention, fine-tuned; it has no size options of its own.

    Args:
        window: width of the time attention in frames, ``window // 2`` to each side; null is full attention.
        sinks: learned sink tokens in front of the frames.
        options: what every ``SeparationModule`` takes (loss, learning_rate, ...).
    """

    def __init__(self, window: int | None = 16, sinks: int = 4, **options: Any) -> None:
        super().__init__(**options)
        self.window, self.sinks = window, sinks

    def configured(self, config: RoformerConfig) -> RoformerConfig:
        """A checkpoint's architecture with this run's window."""
        if self.window != config.window:
            logger.warning(
                "the checkpoint was trained with window %s; using %s, as configured", config.window, self.window
            )
        return replace(config, window=self.window)

    def adopt(self, teacher: Roformer) -> None:
        """Become a student of ``teacher``: its weights, fresh sinks, this module's window."""
        student = to_student(teacher, window=self.window, sinks=self.sinks)
        self.build(student.config).load_state_dict(student.state_dict())

    def setup(self, stage: str) -> None:
        """Insist on a teacher before training."""
        if stage == "fit" and not self.is_built:
            raise UserError("a student needs a teacher: set --distillation.teacher FILE (or small-teacher)")
        super().setup(stage)

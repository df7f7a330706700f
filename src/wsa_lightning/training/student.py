"""A student: the teacher's architecture and weights, its time attention narrowed to a window and sinks."""

import logging
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from wsa_lightning.checkpoints import to_student
from wsa_lightning.checkpoints.narrowing import SINK_STARTS
from wsa_lightning.errors import UserError
from wsa_lightning.models import Dilation, Roformer, RoformerConfig, Window, describe_patterns
from wsa_lightning.training.module import SeparationModule

logger = logging.getLogger(__name__)


class StudentModule(SeparationModule):
    """The teacher with windowed sink attention, fine-tuned; it has no size options of its own.

    Args:
        window: width of the time attention in frames, ``window // 2`` to each side; null is full attention; a list has
            one a layer.
        sinks: learned sink tokens in front of the frames.
        dilation: frames from one key of the window to the next: ``dilation * (window // 2)`` frames to each side, at
            the cost of ``window``; 1 for neighbours; a list has one a layer.
        sink_start: where they start: ``mean`` (the mean band-split feature plus a little noise), ``random`` (plain
            noise) or ``frames`` (the features of the first frames, averaged over some training mixtures).
        options: what every ``SeparationModule`` takes (loss, learning_rate, ...).
    """

    def __init__(
        self,
        window: Window = 16,
        sinks: int = 4,
        dilation: Dilation = 1,
        sink_start: str = "mean",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if sink_start not in SINK_STARTS:
            raise UserError(f"model.sink_start is {sink_start!r}: expected one of {', '.join(SINK_STARTS)}")
        self.window, self.sinks, self.dilation, self.sink_start = window, sinks, dilation, sink_start

    def configured(self, config: RoformerConfig) -> RoformerConfig:
        """A checkpoint's architecture with this run's window."""
        configured = replace(config, window=self.window, dilation=self.dilation)
        if configured.patterns != config.patterns:
            logger.warning(
                "the checkpoint was trained with window %s; using %s, as configured",
                describe_patterns(config),
                describe_patterns(configured),
            )
        return configured

    def adopt(self, teacher: Roformer, mixtures: Tensor | None = None) -> None:
        """Become a student of ``teacher``: its weights, this module's window, fresh sinks.

        The noise of fresh sinks follows ``seed_everything``. A teacher with as many sinks as asked for keeps its own.

        Args:
            teacher: any model.
            mixtures: (B, C, N) of music, for ``sink_start: frames``.
        """
        if self.sinks and teacher.config.sinks == self.sinks:
            logger.warning("the teacher has %d sinks: kept as they are, model.sink_start has no say", self.sinks)
        student = to_student(
            teacher,
            replace(teacher.config, window=self.window, sinks=self.sinks, dilation=self.dilation),
            sink_start=self.sink_start,
            mixtures=mixtures,
            seed=torch.initial_seed(),
            share=True,  # copied in the next line
        )
        self.take(student)

    def setup(self, stage: str) -> None:
        """Insist on a teacher before training."""
        if stage == "fit" and not self.is_built:
            raise UserError("a student needs a teacher: set --distillation.teacher FILE (or small-teacher)")
        super().setup(stage)

"""A student: the teacher's architecture and weights, its time attention narrowed to a window and sinks."""

import logging
from dataclasses import replace
from typing import Any, Literal

import torch

from wsa_lightning.checkpoints import to_student
from wsa_lightning.errors import UserError
from wsa_lightning.models import Dilation, Roformer, RoformerConfig, Window, describe_patterns
from wsa_lightning.models.config import ATTENTION
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
        sink_start: where they start: ``mean`` (the mean band-split feature plus a little noise) or ``random`` (plain
            noise).
        options: what every ``SeparationModule`` takes (loss, optimizer, ...).
    """

    def __init__(
        self,
        window: Window = 16,
        sinks: int = 4,
        dilation: Dilation = 1,
        sink_start: Literal["mean", "random"] = "mean",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.pattern: dict[str, Any] = {"window": window, "sinks": sinks, "dilation": dilation}
        self.sink_start = sink_start
        self.is_other_than_checkpoint = False
        """Whether the checkpoint has another pattern: its score at step 0 is then not this student's."""

    def initial_network(self) -> Roformer:
        """The teacher's weights with this module's attention and fresh sinks, whose noise follows ``seed_everything``.

        A teacher with as many sinks as asked for keeps its own.

        Raises:
            UserError: there is no teacher.
        """
        if self.teacher is None:
            raise UserError(
                "there is no model: a student is made from --distillation.teacher FILE (such as small-teacher), or "
                "read from --ckpt_path FILE"
            )
        network = self.teacher.network
        config = replace(network.config, **self.pattern)
        if config.sinks and network.config.sinks == config.sinks:
            logger.warning("Reusing the teacher's %d sinks; model.sink_start is ignored.", config.sinks)
        return to_student(
            network,
            config,
            sink_start=self.sink_start,
            seed=torch.initial_seed(),
            share=True,  # configure_model copies
        )

    def adapted(self, config: RoformerConfig) -> RoformerConfig:
        """A checkpoint's architecture with this module's window; sinks are weights and stay the checkpoint's."""
        if config.time_mixer != ATTENTION:
            return config  # it has no pattern to change
        adapted = replace(config, **{**self.pattern, "sinks": config.sinks})
        self.is_other_than_checkpoint = adapted.patterns != config.patterns
        if self.is_other_than_checkpoint:
            logger.warning(
                "the checkpoint was trained with window %s; using %s, as configured",
                describe_patterns(config),
                describe_patterns(adapted),
            )
        return adapted

"""A teacher, trained from scratch with full attention."""

from typing import Any

from wsa_lightning.models.config import RoformerConfig
from wsa_lightning.training.module import SeparationModule


class TeacherModule(SeparationModule):
    """A Roformer trained from scratch.

    Args:
        config: its architecture.
        options: what every ``SeparationModule`` takes (loss, optimizer, ...).
    """

    def __init__(self, config: RoformerConfig = RoformerConfig(), **options: Any) -> None:  # noqa: B008 - frozen
        super().__init__(**options)
        self.config = config

    def initial_network(self) -> RoformerConfig:
        return self.config

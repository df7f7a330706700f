"""The models of a test: whose file, which pattern, at which cost."""

from dataclasses import dataclass
from typing import Any

from wsa_lightning.flops import closed_form, count
from wsa_lightning.models import Roformer
from wsa_lightning.models.config import ATTENTION
from wsa_lightning.separation import plan_blocks

FLOPS_SECONDS = 8.0


@dataclass(frozen=True)
class ModelCard:
    """Who was tested.

    Attributes:
        checkpoint: the file, or None for a student as its teacher made it.
        sha256: of that file.
        network: the model.
    """

    checkpoint: str | None
    sha256: str | None
    network: Roformer

    def to_dict(self) -> dict[str, Any]:
        config = self.network.config
        report, blocks = count(self.network, FLOPS_SECONDS), self.blocks()
        if config.time_mixer == ATTENTION:  # the closed form saves a second trace
            block = None if report.known_total is None else closed_form(config, blocks["block_seconds"]).total
        else:
            block = count(self.network, blocks["block_seconds"]).known_total
        return {
            "checkpoint": self.checkpoint,
            "sha256": self.sha256,
            **config.time_attention.to_dict(),
            "parameters": sum(parameter.numel() for parameter in self.network.parameters()),
            "flops": {
                "seconds": report.seconds,
                "total": report.known_total,
                "time_attention": report.known_time_attention,
                "per_second_of_audio": None if block is None else block / blocks["step_seconds"],
            },
        }

    def blocks(self) -> dict[str, float]:
        """How whole songs are cut for this model: the length run at once, and from one to the next, in seconds."""
        config = self.network.config
        plan = plan_blocks(config)
        return {"block_seconds": plan.length / config.sample_rate, "step_seconds": plan.step / config.sample_rate}

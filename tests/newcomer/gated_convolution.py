"""A layer whose mixing over time is a gated convolution, and a teacher made of such layers."""

from typing import Any

import torch
from torch import Tensor, nn

from wsa_lightning.models import RMSNorm, RoformerConfig, time_mixer
from wsa_lightning.training import TeacherModule


@time_mixer("gated_convolution")
class GatedConvolution(nn.Module):
    """Depthwise convolution over 31 frames, gated, between two linear layers."""

    def __init__(self, config: RoformerConfig, *_: Any) -> None:
        super().__init__()
        self.norm = RMSNorm(config.dim)
        self.expand = nn.Linear(config.dim, 2 * config.dim)
        self.mix = nn.Conv1d(config.dim, config.dim, 31, padding=15, groups=config.dim)
        self.to_out = nn.Linear(config.dim, config.dim)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (sequences, L, D) -> update (sequences, L, D)."""
        value, gate = self.expand(self.norm(x)).chunk(2, dim=-1)  # 2 x (N, L, D)
        mixed = self.mix(value.transpose(1, 2)).transpose(1, 2)  # (N, L, D)
        return self.to_out(mixed * torch.sigmoid(gate))


class ConvolutionTeacher(TeacherModule):
    """A small one; ``--model tests.newcomer.gated_convolution.ConvolutionTeacher``."""

    def __init__(self, dim: int = 16, **options: Any) -> None:
        config = RoformerConfig(dim=dim, depth=1, heads=2, dim_head=8, time_mixer="gated_convolution")
        super().__init__(config, **options)

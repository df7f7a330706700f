"""Models that show what a pipeline does to audio."""

import torch
from torch import Tensor, nn

from tests.conftest import TINY
from wsa_lightning.models import RoformerConfig, Separated


class Identity(nn.Module):
    """A model whose estimate is the mixture."""

    def __init__(self, config: RoformerConfig = TINY) -> None:
        super().__init__()
        self.config = config
        self.parameter = nn.Parameter(torch.zeros(1))

    def forward(self, mixture: Tensor) -> Separated:
        return Separated(mixture[:, None].expand(-1, len(self.config.stems), -1, -1), mixture)

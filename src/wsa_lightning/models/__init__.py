"""Floor 2: the Roformers, torch only."""

from wsa_lightning.models.config import BAND_SPLIT_WIDTHS, RoformerConfig
from wsa_lightning.models.roformer import Roformer, Separated
from wsa_lightning.models.windows import (
    Dilation,
    Window,
    describe_dilation,
    describe_window,
    normal_window,
)

__all__ = [
    "BAND_SPLIT_WIDTHS",
    "Dilation",
    "Roformer",
    "RoformerConfig",
    "Separated",
    "Window",
    "describe_dilation",
    "describe_window",
    "normal_window",
]

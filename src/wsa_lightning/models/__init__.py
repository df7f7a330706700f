"""Floor 2: the Roformers, torch only."""

from wsa_lightning.models.config import (
    BAND_SPLIT_WIDTHS,
    Dilation,
    PatternOptions,
    RoformerConfig,
    TimeAttention,
    Window,
    describe_patterns,
)
from wsa_lightning.models.roformer import Roformer, Separated

__all__ = [
    "BAND_SPLIT_WIDTHS",
    "Dilation",
    "PatternOptions",
    "Roformer",
    "RoformerConfig",
    "Separated",
    "TimeAttention",
    "Window",
    "describe_patterns",
]

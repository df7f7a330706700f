"""The Roformers; imports torch alone."""

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
from wsa_lightning.models.transformer import RMSNorm, time_mixer

__all__ = [
    "BAND_SPLIT_WIDTHS",
    "Dilation",
    "PatternOptions",
    "RMSNorm",
    "Roformer",
    "RoformerConfig",
    "Separated",
    "TimeAttention",
    "Window",
    "describe_patterns",
    "time_mixer",
]

"""Pieces of music with known stems, composed and synthesized from a seed: training data without a download."""

from wsa_lightning.composer.mixdown import STEMS, compose
from wsa_lightning.composer.sound import RATE
from wsa_lightning.composer.titles import title

VERSION = 1
"""To be raised with any change to what ``compose`` returns."""

__all__ = ["RATE", "STEMS", "VERSION", "compose", "title"]

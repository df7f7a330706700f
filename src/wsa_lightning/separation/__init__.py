"""Separates songs of any length into stems, in bounded memory and without seams."""

from wsa_lightning.separation.blocks import BlockPlan, cost_factor, plan_blocks, receptive_frames
from wsa_lightning.separation.live import LiveSeparator
from wsa_lightning.separation.songs import separate_file
from wsa_lightning.separation.stream import Precision, separate, separate_stream

__all__ = [
    "BlockPlan",
    "LiveSeparator",
    "Precision",
    "cost_factor",
    "plan_blocks",
    "receptive_frames",
    "separate",
    "separate_file",
    "separate_stream",
]

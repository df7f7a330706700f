"""Floor 1: the windowed sink attention operator; imports torch alone."""

from wsa_lightning.attention.operator import backends, windowed_sink_attention
from wsa_lightning.attention.pattern import (
    allowed,
    allowed_pairs,
    attention_flops,
    check_pattern,
    paper_pairs,
)

__all__ = [
    "allowed",
    "allowed_pairs",
    "attention_flops",
    "backends",
    "check_pattern",
    "paper_pairs",
    "windowed_sink_attention",
]

"""The windowed sink attention operator; imports torch alone."""

from wsa_lightning.attention.operator import Backend, attend, backends, windowed_sink_attention
from wsa_lightning.attention.pattern import Pattern, attention_flops

__all__ = ["Backend", "Pattern", "attend", "attention_flops", "backends", "windowed_sink_attention"]

"""The oracle: windowed sink attention as a dense masked softmax, every line readable, O(length²)."""

from torch import Tensor

from wsa_lightning.attention.pattern import Pattern


def reference(q: Tensor, k: Tensor, v: Tensor, pattern: Pattern) -> Tensor:
    """softmax(q k^T / sqrt(dim_head), over the allowed pairs) v; all (batch, heads, sinks + frames, dim_head)."""
    length, dim_head = q.shape[-2:]
    seen = pattern.mask(length - pattern.sinks, q.device)  # (L, L)
    scores = q @ k.transpose(-1, -2) / dim_head**0.5  # (B, H, L, L)
    weights = scores.masked_fill(~seen, float("-inf")).softmax(-1)
    return weights @ v  # (B, H, L, dim_head)

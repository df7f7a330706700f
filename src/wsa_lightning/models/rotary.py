"""Rotary position embedding (Su et al., arXiv 2104.09864), interleaved pairs, over the whole head."""

import torch
from torch import Tensor, nn

THETA = 10000.0


def rotary_frequencies(dim_head: int, device: torch.device | str | None = None) -> Tensor:
    """Radians per position of each pair, 1 / theta^(2i / dim_head): (dim_head / 2,)."""
    return THETA ** -(torch.arange(0, dim_head, 2, device=device).float() / dim_head)


class Rotary(nn.Module):
    """Turns pair i of a query or key at position p by p / theta^(2i / dim_head)."""

    frequencies: Tensor

    def __init__(self, dim_head: int) -> None:
        super().__init__()
        self.register_buffer("frequencies", rotary_frequencies(dim_head), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(..., positions, dim_head) -> the same, turned; angles in fp32 (positions exceed what fp16 can hold)."""
        position = torch.arange(x.shape[-2], device=x.device, dtype=torch.float32)
        angle = position[:, None] * self.frequencies.float()  # (L, E / 2)
        cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
        even, odd = x.unflatten(-1, (-1, 2)).unbind(-1)  # (..., L, E / 2)
        return torch.stack((even * cos - odd * sin, odd * cos + even * sin), dim=-1).flatten(-2)

"""Rotary position embedding (Su et al., arXiv 2104.09864), interleaved pairs, over the whole head."""

import torch
from torch import Tensor, nn

THETA = 10000.0


def rotary_frequencies(dim_head: int, device: torch.device | str | None = None) -> Tensor:
    """Radians per position of each pair, 1 / theta^(2i / dim_head): (dim_head / 2,)."""
    return THETA ** -(torch.arange(0, dim_head, 2, device=device).float() / dim_head)


class Rotary(nn.Module):
    """Rotates pair i of a query or key at position p by p / theta^(2i / dim_head)."""

    frequencies: Tensor

    def __init__(self, dim_head: int) -> None:
        super().__init__()
        # Computed on the CPU, like the STFT's window: on meta, PyTorch would load its compiler to trace it.
        frequencies = rotary_frequencies(dim_head, "cpu").to(torch.get_default_device())
        self.register_buffer("frequencies", frequencies, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(..., positions, heads, dim_head) -> the same, rotated, in fp32: positions exceed what fp16 can hold."""
        position = torch.arange(x.shape[-3], device=x.device, dtype=torch.float32)
        angle = position[:, None, None] * self.frequencies.float()  # (L, 1, E / 2)
        cos, sin = angle.cos(), angle.sin()
        pairs = x.float().unflatten(-1, (-1, 2))  # (..., L, H, E / 2, 2)
        if torch.compiler.is_compiling():
            # A compiler fuses the real formula, and exports have no complex numbers.
            re, im = pairs.unbind(-1)
            rotated = torch.stack((re * cos - im * sin, im * cos + re * sin), dim=-1)
        else:
            # A pair is a complex number, and one complex product is a single pass over memory.
            rotated = torch.view_as_real(torch.view_as_complex(pairs) * torch.complex(cos, sin))
        return rotated.flatten(-2).to(x.dtype)

"""The Roformer: spectrum, bands, layers over time and frequency, one complex mask a stem (paper, figure 1)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from wsa_lightning.attention import Pattern
from wsa_lightning.attention.operator import resolve
from wsa_lightning.errors import UserError
from wsa_lightning.models.bands import BandMerge, BandSplit, MaskEstimator
from wsa_lightning.models.config import RoformerConfig
from wsa_lightning.models.spectral import Spectral
from wsa_lightning.models.transformer import Attention, RMSNorm, Transformer, in_parts, make_time_mixer


class Separated(NamedTuple):
    """What a Roformer returns.

    Attributes:
        audio: (B, stems, C, N).
        mask: complex (B, stems, C, F, T), averaged where bands overlap, before the DC bin is zeroed.
    """

    audio: Tensor
    mask: Tensor


def _swapped(x: Tensor) -> Tensor:
    """(B, L, K, D) -> (B, K, L, D), always a copy, so that a transformer may work in its memory."""
    return x.transpose(1, 2).clone(memory_format=torch.contiguous_format)


class Layer(nn.Module):
    """One layer of figure 1: attention (or another mixer) along time in every band, then across bands in a frame."""

    def __init__(self, config: RoformerConfig, pattern: Pattern, backend: str) -> None:
        super().__init__()
        self.time = Transformer(config, (make_time_mixer(config, pattern, backend) for _ in range(config.time_blocks)))
        self.frequency = Transformer(
            config, (Attention(config, Pattern(), "auto") for _ in range(config.frequency_blocks))
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, S + T, K, D) -> the same."""
        batch, length, bands, _ = x.shape
        x = _swapped(x).flatten(0, 1)  # (B K, S + T, D)
        x = self.time(x, reuse=True)
        x = _swapped(x.unflatten(0, (batch, bands))).flatten(0, 1)  # (B (S + T), K, D)
        x = self.frequency(x, reuse=True)
        return x.unflatten(0, (batch, length))


class Roformer(nn.Module):
    """A Mel-Band or Band-Split Roformer with full or windowed sink attention over time.

    Sources: Mel-Band RoFormer (arXiv 2310.01809), BS-RoFormer (arXiv 2309.02612), windowed sink attention
    (arXiv 2510.25745).

    Args:
        config: the architecture.
        backend: how the time attention is computed, see ``attention.backends()``; ``auto`` picks the best.
        activation_checkpointing: recompute each layer in the backward pass instead of keeping its activations.
    """

    def __init__(
        self, config: RoformerConfig, *, backend: str = "auto", activation_checkpointing: bool = False
    ) -> None:
        super().__init__()
        resolve(backend)
        self.config = config
        self.activation_checkpointing = activation_checkpointing
        self.spectral = Spectral(config)
        self.band_split = BandSplit(config)
        if config.sinks:
            self.sinks = nn.Parameter(torch.empty(config.sinks, config.bands, config.dim))
            nn.init.normal_(self.sinks, std=0.02)
        self.layers = nn.ModuleList(Layer(config, pattern, backend) for pattern in config.patterns)
        self.norm = RMSNorm(config.dim) if config.family == "band_split" else nn.Identity()
        self.mask_estimators = nn.ModuleList(MaskEstimator(config) for _ in config.stems)
        self.band_merge = BandMerge(config)

    def forward(self, mixture: Tensor) -> Separated:
        """Separate mixtures (B, C, N), any N >= 1."""
        if mixture.ndim != 3 or mixture.shape[1] != self.config.channels or mixture.shape[2] < 1:
            raise UserError(
                f"mixture has shape {tuple(mixture.shape)}: expected (batch, {self.config.channels}, samples >= 1)"
            )
        spectrum = self.spectral(mixture)  # (B, C, F, T)
        mask = self.estimate_mask(spectrum)  # (B, stems, C, F, T)
        separated = spectrum[:, None] * mask  # (B, stems, C, F, T)
        if self.config.zero_dc:
            separated[..., 0, :] = 0
        audio = self.spectral.inverse(separated, mixture.shape[-1])  # (B, stems, C, N)
        return Separated(audio, mask)

    def estimate_mask(self, spectrum: Tensor) -> Tensor:
        """Complex spectrum (B, C, F, T) -> complex mask (B, stems, C, F, T): the network proper, STFT-free."""
        x = self.prepend_sinks(self.tokens(spectrum))  # (B, S + T, K, D)
        for layer in self.layers:
            if self.activation_checkpointing and torch.is_grad_enabled():
                x = checkpoint(layer, x, use_reentrant=False)
            else:
                x = layer(x)
        x = self.norm(x[:, self.config.sinks :])  # (B, T, K, D)
        width = len(self.mask_estimators) * len(self.band_merge.entries) // self.config.bands
        masks = in_parts(self.masks, x.flatten(0, 1), width)  # (B T, stems, C, F)
        return masks.unflatten(0, x.shape[:2]).permute(0, 2, 3, 4, 1)

    def masks(self, frames: Tensor) -> Tensor:
        """Tokens (n, K, D) -> complex masks (n, stems, C, F)."""
        gains = torch.stack([estimator(frames[None]) for estimator in self.mask_estimators], dim=1)
        return self.band_merge(gains)[0].permute(3, 0, 1, 2)  # gains (1, stems, n, entries, 2)

    def tokens(self, spectrum: Tensor) -> Tensor:
        """Complex spectrum (B, C, F, T) -> one token a band and frame (B, T, K, D)."""
        frames = spectrum.permute(0, 3, 2, 1)  # (B, T, F, C)
        tokens = in_parts(self._tokens, frames.flatten(0, 1), 4 * self.config.channels)  # (B T, K, D)
        return tokens.unflatten(0, frames.shape[:2])

    def _tokens(self, frames: Tensor) -> Tensor:
        """Complex spectrum (n, F, C) -> tokens (n, K, D)."""
        interleaved = torch.view_as_real(frames).flatten(1, 2)  # (n, F C, 2)
        return self.band_split(interleaved[None])[0]

    def compile_layers(self, backend: str = "inductor") -> None:
        """Compile every layer with ``torch.compile``, in place: parameters keep their names, the first call is slow.

        Layers with the same pattern share their code: one compilation serves all of them at one length, a second one
        all other lengths. PyTorch gives up after 8 compilations of the same code, so the limit is raised to what the
        patterns need.

        Args:
            backend: ``torch.compile``'s; ``eager`` needs no compiler, and is no faster.
        """
        torch._dynamo.config.recompile_limit = max(
            torch._dynamo.config.recompile_limit, 4 * len(set(self.config.patterns))
        )
        for layer in self.layers:
            layer.compile(backend=backend)

    def prepend_sinks(self, x: Tensor) -> Tensor:
        """(B, T, K, D) -> (B, S + T, K, D): the learned sink tokens in front of the frames, the same for all."""
        if not self.config.sinks:
            return x
        return torch.cat((self.sinks.to(x.dtype).expand(x.shape[0], -1, -1, -1), x), dim=1)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside, and the mode the model had before afterwards."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)

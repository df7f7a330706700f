"""Bins to bands and back: which bins a band holds, the band split, and the mask estimators."""

import itertools
import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wsa_lightning.errors import UserError
from wsa_lightning.models.config import RoformerConfig
from wsa_lightning.models.transformer import RMSNorm


def slaney_mel_edges(bands: int, top: float) -> NDArray[np.float64]:
    """``bands + 2`` frequencies in Hz, even on Slaney's mel scale (linear to 1 kHz, then 27 steps per factor 6.4)."""
    mel_of_1k, step = 15.0, math.log(6.4) / 27
    top_mel = top * 3 / 200 if top < 1000 else mel_of_1k + math.log(top / 1000) / step
    mel = np.linspace(0.0, top_mel, bands + 2)
    return np.where(mel < mel_of_1k, mel * 200 / 3, 1000 * np.exp(step * (mel - mel_of_1k)))


def mel_band_bins(config: RoformerConfig) -> list[list[int]]:
    """Bins under each triangle of the Slaney mel filter bank (librosa.filters.mel), DC and Nyquist forced in."""
    edges = slaney_mel_edges(config.mel_bands, config.sample_rate / 2)
    frequency = np.linspace(0, config.sample_rate / 2, config.bins)
    held = (frequency > edges[:-2, None]) & (frequency < edges[2:, None])  # (K, F)
    held[0, 0] = held[-1, -1] = True
    return [np.flatnonzero(band).tolist() for band in held]


def band_bins(config: RoformerConfig) -> list[list[int]]:
    """The bins of every band, in order of the bands; every bin lies in at least one."""
    if config.family == "mel_band":
        bins = mel_band_bins(config)
    else:
        starts = np.cumsum((0, *config.band_widths))
        bins = [list(range(start, stop)) for start, stop in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)]
    if not all(bins) or len(set().union(*bins)) != config.bins:
        raise UserError(
            f"{config.bands} {config.family} bands on n_fft {config.n_fft} leave a band or a bin empty: use fewer bands"
        )
    return bins


def band_entries(config: RoformerConfig) -> list[NDArray[np.int64]]:
    """Per band the indices of its (bin, channel) entries, ``bin * C + channel``: K arrays (C * bins_k,)."""
    channel = np.arange(config.channels)
    return [(np.array(bins)[:, None] * config.channels + channel).ravel() for bins in band_bins(config)]


def _taken(spectrum: Tensor, entries: Tensor) -> Tensor:
    """``spectrum[:, :, entries]`` of (B, T, F * C, 2)."""
    if torch.compiler.is_compiling():  # exports have no complex numbers
        return spectrum[:, :, entries]
    return torch.view_as_real(torch.view_as_complex(spectrum)[:, :, entries])  # faster than as pairs


class BandSplit(nn.Module):
    """Every band's entries, normed and projected to one token: (B, T, entries, 2) -> (B, T, K, D)."""

    entries: Tensor

    def __init__(self, config: RoformerConfig) -> None:
        super().__init__()
        entries = band_entries(config)
        widths = [2 * len(band) for band in entries]  # re and im
        self.widths = widths
        self.norms = nn.ModuleList(RMSNorm(width) for width in widths)
        self.linears = nn.ModuleList(nn.Linear(width, config.dim) for width in widths)
        self.register_buffer("entries", torch.tensor(np.concatenate(entries)), persistent=False)

    def forward(self, spectrum: Tensor) -> Tensor:
        """Interleaved spectrum (B, T, F * C, 2) real -> tokens (B, T, K, D)."""
        bands = _taken(spectrum, self.entries).flatten(2).split(self.widths, dim=-1)  # K x (B, T, 2 C bins_k)
        tokens = [
            linear(norm(band)) for band, norm, linear in zip(bands, self.norms, self.linears, strict=True)
        ]  # K x (B, T, D)
        return torch.stack(tokens, dim=2)

    def mean_feature(self) -> Tensor:
        """The expected token of every band, (K, D), known without audio.

        Phases are uniform on average, so the normed bins average to zero and the mean
        of ``Linear(norm(bins))`` is the Linear's bias.
        """
        return torch.stack([p.view(-1) for name, p in self.linears.named_parameters() if name.endswith("bias")])


class MaskEstimator(nn.Module):
    """One stem: every band's token through an MLP of its own to the complex gains of the band's entries."""

    def __init__(self, config: RoformerConfig) -> None:
        super().__init__()
        hidden = config.dim * config.mlp_expansion_factor
        widths = [config.dim] + [hidden] * config.mask_hidden_layers
        self.mlps = nn.ModuleList()
        for entries in band_entries(config):
            layers: list[nn.Module] = []
            for fan_in, fan_out in itertools.pairwise(widths):
                layers += [nn.Linear(fan_in, fan_out), nn.Tanh()]
            gains = 2 * len(entries)  # re and im
            self.mlps.append(nn.Sequential(*layers, nn.Linear(hidden, 2 * gains), nn.GLU(dim=-1)))

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, T, K, D) -> (B, T, all bands' entries, 2)."""
        gains = [mlp(band) for mlp, band in zip(self.mlps, tokens.unbind(2), strict=True)]  # K x (B, T, 2 C bins_k)
        return torch.cat(gains, dim=-1).unflatten(-1, (-1, 2))


class BandMerge(nn.Module):
    """The bands' gains on the full spectrum: summed where bands overlap, divided by how many hold the bin."""

    entries: Tensor
    holders: Tensor

    def __init__(self, config: RoformerConfig) -> None:
        super().__init__()
        entries = np.concatenate(band_entries(config))
        self.channels, self.bins = config.channels, config.bins
        self.register_buffer("entries", torch.tensor(entries), persistent=False)
        self.register_buffer("holders", torch.tensor(np.bincount(entries)).float(), persistent=False)

    def forward(self, gains: Tensor) -> Tensor:
        """(B, stems, T, all bands' entries, 2) -> complex mask (B, stems, C, F, T)."""
        gains = gains.float()
        # Adding complex numbers is faster than adding pairs.
        merged = torch.zeros(*gains.shape[:3], self.bins * self.channels, dtype=torch.complex64, device=gains.device)
        merged = merged.index_add(3, self.entries, torch.view_as_complex(gains)) / self.holders  # (B, stems, T, F C)
        mask = merged.unflatten(-1, (self.bins, self.channels))  # (B, stems, T, F, C)
        return mask.permute(0, 1, 4, 3, 2)

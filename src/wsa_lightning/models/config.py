"""The architecture of a Roformer as plain data: everything its tensors' shapes and its arithmetic depend on."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from wsa_lightning.attention import check_pattern
from wsa_lightning.errors import UserError
from wsa_lightning.models.windows import Dilation, Window, normal_dilation, normal_window, per_layer

Family = Literal["mel_band", "band_split"]

BAND_SPLIT_WIDTHS = (2,) * 24 + (4,) * 12 + (12,) * 8 + (24,) * 8 + (48,) * 8 + (128, 129)
"""Bins per band of the public BS-Roformer: 62 bands, 1025 bins."""


_MOST = {
    "dim": 1 << 14, "depth": 512, "heads": 512, "dim_head": 4096, "time_blocks": 64, "frequency_blocks": 64,
    "ff_mult": 64, "mask_hidden_layers": 64, "mlp_expansion_factor": 64, "mel_bands": 2048, "channels": 64,
    "sample_rate": 1 << 20, "n_fft": 1 << 16, "win_length": 1 << 16, "hop_length": 1 << 16,
}  # fmt: skip
"""Largest values, many times those of any model: a file that states more is broken, or after the memory."""

# Stems become files. Control characters and what separates folders anywhere must not be in their names.
_FILE_NAME = re.compile(r"[^./\\:\x00-\x1f\x7f][^/\\:\x00-\x1f\x7f]{0,99}")


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


@dataclass(frozen=True)
class RoformerConfig:
    """A Mel-Band or Band-Split Roformer, full attention or windowed.

    Attributes:
        family: ``mel_band`` (overlapping Slaney mel bands) or ``band_split`` (consecutive bands).
        dim: width of a token, D.
        depth: layers, each a time transformer then a frequency transformer.
        heads: attention heads.
        dim_head: width of a head; even, for the rotary embedding turns pairs.
        time_blocks: attention + feed-forward blocks in a time transformer.
        frequency_blocks: the same in a frequency transformer.
        ff_mult: hidden width of the feed-forward, as a multiple of ``dim``.
        mask_hidden_layers: hidden layers of a band's mask MLP.
        mlp_expansion_factor: hidden width of the mask MLP, as a multiple of ``dim``.
        stems: names of the stems the model estimates, one mask estimator each.
        mel_bands: bands of the ``mel_band`` family.
        band_widths: bins per band of the ``band_split`` family; they sum to ``n_fft // 2 + 1``.
        channels: audio channels, C.
        sample_rate: in Hz.
        n_fft: STFT size in samples.
        win_length: STFT window (periodic Hann) in samples.
        hop_length: samples between frames.
        zero_dc: whether bin 0 of the separated spectrum is set to zero.
        window: width of the time attention in frames, ``window // 2`` to each side; None is full attention. A list
            has one a layer; where all are alike it becomes that one window.
        dilation: frames from one key of the window to the next, 1 for neighbours: a window of ``window`` frames then
            reaches ``dilation * (window // 2)`` to each side. A list has one a layer, as of windows.
        sinks: learned sink tokens in front of the frames, S.
        chunk_seconds: length of the chunks the model was trained on; no tensor depends on it.
    """

    family: Family = "mel_band"
    dim: int = 384
    depth: int = 6
    heads: int = 8
    dim_head: int = 64
    time_blocks: int = 1
    frequency_blocks: int = 1
    ff_mult: int = 4
    mask_hidden_layers: int = 2
    mlp_expansion_factor: int = 4
    stems: tuple[str, ...] = ("vocals",)
    mel_bands: int = 60
    band_widths: tuple[int, ...] = BAND_SPLIT_WIDTHS
    channels: int = 2
    sample_rate: int = 44100
    n_fft: int = 2048
    win_length: int = 2048
    hop_length: int = 441
    zero_dc: bool = True
    window: Window = None
    dilation: Dilation = 1
    sinks: int = 0
    chunk_seconds: float = 8.0

    def __post_init__(self) -> None:
        # YAML and JSON know lists only.
        for name in ("stems", "band_widths"):
            if not isinstance(getattr(self, name), (list, tuple)):
                raise UserError(f"{name} is {getattr(self, name)!r}: expected a list")
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not _is_integer(self.sinks):
            raise UserError(f"sinks is {self.sinks!r}: expected an integer")
        check_pattern(None, self.sinks)
        if self.family not in ("mel_band", "band_split"):
            raise UserError(f"family is {self.family!r}: expected mel_band or band_split")
        for name, most in _MOST.items():
            value = getattr(self, name)
            if not _is_integer(value) or value < 1:
                raise UserError(f"{name} is {value!r}: expected at least 1, an integer")
            if value > most:
                raise UserError(f"{name} is {value}: expected at most {most}, or this is no model")
        object.__setattr__(self, "window", normal_window(self.window, self.depth))
        object.__setattr__(self, "dilation", normal_dilation(self.dilation, self.windows))
        if isinstance(self.chunk_seconds, bool) or not isinstance(self.chunk_seconds, (int, float)):
            raise UserError(f"chunk_seconds is {self.chunk_seconds!r}: expected a number")
        if not self.chunk_seconds > 0:
            raise UserError(f"chunk_seconds is {self.chunk_seconds}: expected more than 0")
        if self.dim_head % 2:
            raise UserError(f"dim_head is {self.dim_head}: expected an even number, rotary embedding turns pairs")
        if not self.stems:
            raise UserError("stems is empty: expected at least one stem name")
        for stem in self.stems:
            if not isinstance(stem, str) or not _FILE_NAME.fullmatch(stem):
                raise UserError(
                    f"a stem is named {stem!r}: expected a name that files can have, without / \\ : or a dot first"
                )
        if not all(_is_integer(width) and width > 0 for width in self.band_widths):
            raise UserError(f"band_widths are {str(self.band_widths)[:60]}: expected numbers of bins, at least 1 each")
        if self.win_length > self.n_fft:
            raise UserError(f"win_length is {self.win_length}: expected at most n_fft, {self.n_fft}")
        if self.hop_length > self.win_length:
            raise UserError(f"hop_length is {self.hop_length}: expected at most win_length, {self.win_length}")
        if self.family == "band_split" and sum(self.band_widths) != self.bins:
            raise UserError(f"band_widths sum to {sum(self.band_widths)} bins: expected n_fft // 2 + 1 = {self.bins}")

    @property
    def bins(self) -> int:
        """Frequency bins of the STFT, F."""
        return self.n_fft // 2 + 1

    @property
    def bands(self) -> int:
        """Bands, K."""
        return self.mel_bands if self.family == "mel_band" else len(self.band_widths)

    @property
    def windows(self) -> tuple[int | None, ...]:
        """The window of every layer."""
        return tuple(self.window) if isinstance(self.window, Sequence) else (self.window,) * self.depth

    @property
    def dilations(self) -> tuple[int, ...]:
        """The dilation of every layer."""
        return per_layer(self.dilation, self.depth)

    @property
    def patterns(self) -> tuple[tuple[int | None, int], ...]:
        """Window and dilation of every layer."""
        return tuple(zip(self.windows, self.dilations, strict=True))

    def frames(self, seconds: float) -> int:
        """STFT frames of ``seconds`` of audio, T (centred frames; 8 s -> 801 at hop 441)."""
        return round(seconds * self.sample_rate) // self.hop_length + 1

    def to_dict(self) -> dict[str, Any]:
        """Plain data for YAML, JSON and checkpoints."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "RoformerConfig":
        """The reverse of ``to_dict``; an unknown key is a ``UserError`` that lists the known ones."""
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise UserError(f"model config has unknown keys {unknown}: expected a subset of {sorted(known)}")
        return cls(**values)


PUBLISHED = {
    "kim": RoformerConfig(),
    "viperx": RoformerConfig(family="band_split", dim=512, depth=12, mask_hidden_layers=1),
}
"""Architectures people use, by their author: Kim's Mel-Band RoFormer and viperx's BS-RoFormer, both for vocals."""

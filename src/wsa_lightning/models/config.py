"""The architecture of a Roformer as plain data: everything its tensors' shapes and its arithmetic depend on."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, TypedDict

from typing_extensions import Unpack

from wsa_lightning.attention import Pattern
from wsa_lightning.attention.pattern import is_integer
from wsa_lightning.errors import UserError

Window = int | Sequence[int | None] | None
"""Width of the time attention in frames: one for all layers, or a list of one a layer; None is full attention."""
Dilation = int | Sequence[int]
"""Frames from one key of a window to the next: one for all layers, or a list of one a layer; 1 is a plain window."""
MOST_DILATION = 1 << 20


class PatternOptions(TypedDict, total=False):
    """Options that choose another time attention; the others stay."""

    window: Window
    sinks: int
    dilation: Dilation


@dataclass(frozen=True)
class TimeAttention:
    """The patterns of all layers, as options, YAML and files state them; the fields are those of ``Pattern``.

    Attributes:
        window: one for all layers, or a list of one a layer.
        dilation: one for all layers, or a list of one a layer.
        sinks: of all layers.
    """

    window: Window = None
    dilation: Dilation = 1
    sinks: int = 0

    def __post_init__(self) -> None:
        for name, value in list(vars(self).items()):
            if isinstance(value, list):
                object.__setattr__(self, name, tuple(value))

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "TimeAttention":
        """The fields found in a mapping that may hold more; a missing one has its default."""
        return cls(**{field.name: values[field.name] for field in fields(cls) if field.name in values})

    def patterns(self, layers: int | None = None) -> tuple[Pattern, ...]:
        """One pattern a layer.

        Args:
            layers: how many; None is the length of the lists, 1 if there are none.

        Raises:
            UserError: a list has another length, or a layer has no valid pattern.
        """
        if layers is None:
            layers = max((len(value) for value in vars(self).values() if isinstance(value, tuple)), default=1)
        each = {name: _one_a_layer(name, value, layers) for name, value in vars(self).items()}
        return tuple(Pattern(**{name: values[layer] for name, values in each.items()}) for layer in range(layers))

    def __str__(self) -> str:
        """The windows for tables and names: ``full``, ``10``, ``4,16,full``, or dilated ``16/8``, ``4,16/8``."""
        patterns = self.patterns()
        return str(patterns[0]) if len(set(patterns)) == 1 else ",".join(map(str, patterns))

    def to_dict(self) -> dict[str, Any]:
        """Plain data for YAML and JSON: lists instead of tuples."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()}

    def columns(self) -> dict[str, int | str]:
        """A number or a short string for each field, for the columns of a table."""
        return {
            name: ",".join(map(_cell, value)) if isinstance(value, tuple) else value if value is not None else "full"
            for name, value in vars(self).items()
        }


def _one_a_layer(name: str, value: Any, layers: int) -> Sequence[Any]:
    if name == "sinks" or not isinstance(value, tuple):
        return (value,) * layers
    if len(value) != layers:
        raise UserError(
            f"{name} is {list(value)}, {len(value)} values: expected {layers}, one a layer, or a single one for all"
        )
    return value


def _cell(value: int | None) -> str:
    return "full" if value is None else str(value)


Family = Literal["mel_band", "band_split"]

BAND_SPLIT_WIDTHS = (2,) * 24 + (4,) * 12 + (12,) * 8 + (24,) * 8 + (48,) * 8 + (128, 129)
"""Bins per band of the public BS-Roformer: 62 bands, 1025 bins."""


_MOST = {
    "dim": 1 << 14, "depth": 512, "heads": 512, "dim_head": 4096, "time_blocks": 64, "frequency_blocks": 64,
    "ff_mult": 64, "mask_hidden_layers": 64, "mlp_expansion_factor": 64, "mel_bands": 2048, "channels": 64,
    "sample_rate": 1 << 20, "n_fft": 1 << 16, "win_length": 1 << 16, "hop_length": 1 << 16,
}  # fmt: skip
"""Largest values, many times those of any model: a file that states more is broken, or meant to exhaust memory."""

# Stems become files. Their names must not hold control characters, nor what separates folders on any system.
_FILE_NAME = re.compile(r"[^./\\:\x00-\x1f\x7f][^/\\:\x00-\x1f\x7f]{0,99}")


ATTENTION = "attention"
"""The time mixer of every published model."""


@dataclass(frozen=True)
class RoformerConfig:
    """A Mel-Band or Band-Split Roformer, full attention or windowed.

    Attributes:
        family: ``mel_band`` (overlapping Slaney mel bands) or ``band_split`` (consecutive bands).
        dim: width of a token, D.
        depth: layers, each a time transformer then a frequency transformer.
        heads: attention heads.
        dim_head: width of a head; even, because the rotary embedding rotates pairs.
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
        time_mixer: what mixes the frames of a band: ``attention``, or a name that ``models.time_mixer`` has registered.
            Window, sinks and dilation are attention's.
        window: width of the time attention in frames, ``window // 2`` to each side; None is full attention. A list
            has one a layer; a list of equal windows becomes that one window.
        dilation: frames from one key of the window to the next, 1 for neighbours: a window of ``window`` frames then
            reaches ``dilation * (window // 2)`` to each side. A list has one a layer.
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
    time_mixer: str = ATTENTION
    window: Window = None
    dilation: Dilation = 1
    sinks: int = 0
    chunk_seconds: float = 8.0

    def __post_init__(self) -> None:
        # YAML and JSON have lists only.
        for name in ("stems", "band_widths"):
            if not isinstance(getattr(self, name), (list, tuple)):
                raise UserError(f"{name} is {getattr(self, name)!r}: expected a list")
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if self.family not in ("mel_band", "band_split"):
            raise UserError(f"family is {self.family!r}: expected mel_band or band_split")
        for name, most in _MOST.items():
            value = getattr(self, name)
            if not is_integer(value) or value < 1:
                raise UserError(f"{name} is {value!r}: expected at least 1, an integer")
            if value > most:
                raise UserError(f"{name} is {value}: expected at most {most}, many times that of any model")
        attention = self.time_attention
        for step in attention.dilation if isinstance(attention.dilation, tuple) else (attention.dilation,):
            if is_integer(step) and step > MOST_DILATION:
                raise UserError(f"dilation is {step}: expected at most {MOST_DILATION}, hours of frames")
        attention.patterns(self.depth)
        if self.time_mixer != ATTENTION and any(pattern != Pattern() for pattern in attention.patterns(self.depth)):
            raise UserError(
                f"time_mixer is {self.time_mixer!r} with window {attention.window} and {attention.sinks} sinks: "
                "expected null and 0, only attention has them"
            )
        for name, value in vars(attention).items():
            alike = isinstance(value, tuple) and len(set(value)) == 1
            object.__setattr__(self, name, value[0] if alike else value)
        is_number = isinstance(self.chunk_seconds, (int, float)) and not isinstance(self.chunk_seconds, bool)
        if not is_number or not self.chunk_seconds > 0:
            raise UserError(f"chunk_seconds is {self.chunk_seconds!r}: expected a number above 0")
        if self.dim_head % 2:
            raise UserError(
                f"dim_head is {self.dim_head}: expected an even number, because the rotary embedding rotates pairs"
            )
        if not self.stems:
            raise UserError("stems is empty: expected at least one stem name")
        for stem in self.stems:
            if not isinstance(stem, str) or not _FILE_NAME.fullmatch(stem):
                raise UserError(
                    f"a stem is named {stem!r}: expected a name that files can have, without / \\ : or a dot first"
                )
        if not all(is_integer(width) and width > 0 for width in self.band_widths):
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
    def time_attention(self) -> TimeAttention:
        """The fields that choose the time attention, and nothing else."""
        return TimeAttention.of(vars(self))

    @property
    def patterns(self) -> tuple[Pattern, ...]:
        """The pattern of every layer's time attention."""
        return self.time_attention.patterns(self.depth)

    def with_pattern(self, **options: Unpack[PatternOptions]) -> "RoformerConfig":
        """The same architecture with another time attention.

        Args:
            options: ``window``, ``sinks``, ``dilation``. What is not named stays; a dilation that is not named becomes
                1 in layers that get full attention.
        """
        if "dilation" not in options:
            options["dilation"] = 1
            windows = [new.window for new in replace(self, **options).patterns]
            kept = zip(windows, self.patterns, strict=True)
            options["dilation"] = [1 if window is None else old.dilation for window, old in kept]
        return replace(self, **options)

    def frames(self, seconds: float) -> int:
        """STFT frames of ``seconds`` of audio, T (centred frames; 8 s -> 801 at hop 441)."""
        return round(seconds * self.sample_rate) // self.hop_length + 1

    def to_dict(self) -> dict[str, Any]:
        """Plain data for YAML, JSON and checkpoints."""
        values = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        if self.time_mixer == ATTENTION:
            del values["time_mixer"]  # files of attention models are those of versions that had no other mixer
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "RoformerConfig":
        """The reverse of ``to_dict``; an unknown key is a ``UserError`` that lists the known ones."""
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise UserError(f"model config has unknown keys {unknown}: expected a subset of {sorted(known)}")
        return cls(**values)


def describe_patterns(config: RoformerConfig) -> str:
    """The windows of a model for tables and names: ``full``, ``16``, of layers that differ ``4,16/8``; or its mixer."""
    return str(config.time_attention) if config.time_mixer == ATTENTION else config.time_mixer


PUBLISHED = {
    "kim": RoformerConfig(),
    "viperx": RoformerConfig(family="band_split", dim=512, depth=12, mask_hidden_layers=1),
}
"""Architectures people use, by their author: Kim's Mel-Band RoFormer and viperx's BS-RoFormer, both for vocals."""

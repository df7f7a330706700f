"""The YAML that comes with a public checkpoint: what tensors cannot say, in the public names and in ours."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from wsa_lightning.checkpoints.variants import refuse_stated_variants
from wsa_lightning.errors import UserError, one_line
from wsa_lightning.models import RoformerConfig, TimeAttention

SUFFIXES = (".yaml", ".yml")
MODEL_SUFFIXES = (".ckpt", ".pt", ".pth", ".th", ".safetensors")
LARGEST = 2**31
PUBLIC_HOP = 512
"""The public constructors' default if a YAML has no hop."""

_MODEL_KEYS = {
    "dim": "dim",
    "depth": "depth",
    "heads": "heads",
    "dim_head": "dim_head",
    "time_transformer_depth": "time_blocks",
    "freq_transformer_depth": "frequency_blocks",
    "num_bands": "mel_bands",
    "mlp_expansion_factor": "mlp_expansion_factor",
    "sample_rate": "sample_rate",
    "stft_n_fft": "n_fft",
    "stft_hop_length": "hop_length",
    "stft_win_length": "win_length",
}
# mask_estimator_depth counts other layers in each family: the tensors tell.

_RELEASED_KEYS = {"window": "wsa_window_len", "sinks": "n_wsa_sinks"}
_PATTERN_KEYS = _RELEASED_KEYS | {name: f"wsa_{name}" for name in vars(TimeAttention()) if name not in _RELEASED_KEYS}
"""Fields of a pattern to public keys: two are the paper's release's, only this project has the others."""

Companion = Path | str | Mapping[str, Any]


class _Loader(yaml.SafeLoader):
    """Safe YAML that understands ``!!python/tuple``, which public configs use, and nothing else of Python.

    Aliases are refused: a few lines of them can expand to more values than memory holds.
    """

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.composer.ComposerError(None, None, "aliases (*) are refused", self.peek_event().start_mark)  # type: ignore[no-untyped-call]
        return super().compose_node(parent, index)


def _tuple(loader: _Loader, node: yaml.SequenceNode) -> tuple[Any, ...]:
    return tuple(loader.construct_sequence(node))


_Loader.add_constructor("tag:yaml.org,2002:python/tuple", _tuple)


def read_companion(config: Companion | None) -> dict[str, Any]:
    """Fields of ``RoformerConfig``, and ``num_stems``, that a companion YAML (path, dict, ``model:`` section) states.

    Raises:
        UserError: the file is unreadable, not a mapping, uses other Python tags, holds a value of another type, or
            describes a variant that is not supported.
    """
    if config is None:
        return {}
    if isinstance(config, (str, Path)):
        try:
            return read_companion(_read_yaml(Path(config)))
        except UserError as error:
            raise UserError(f"{config}: {error}") from None
    model = _section(config, "model") or config
    refuse_stated_variants(model)
    stated: dict[str, Any] = {
        ours: _integer(public, model[public])
        for public, ours in {**_MODEL_KEYS, "num_stems": "num_stems"}.items()
        if model.get(public) is not None
    }
    stated |= _read_pattern(model)
    if "dim" in model and "depth" in model:  # a complete section: what it omits has the constructors' default
        stated.setdefault("hop_length", PUBLIC_HOP)
    if model.get("freqs_per_bands") is not None:
        stated["band_widths"] = tuple(
            _integer("freqs_per_bands", width) for width in _sequence("freqs_per_bands", model["freqs_per_bands"])
        )
    if "stereo" in model:
        stated["channels"] = 2 if _boolean("stereo", model["stereo"]) else 1
    if model.get("zero_dc") is not None:
        stated["zero_dc"] = _boolean("zero_dc", model["zero_dc"])
    return stated | _read_training(_section(config, "training")) | _read_audio(_section(config, "audio"), stated)


def find_companion(file: Path) -> Path | None:
    """The YAML beside a model file: of the same name, or the only one with a model section beside the only model."""
    for suffix in SUFFIXES:
        if (same_name := file.with_suffix(suffix)).is_file():
            return same_name
    neighbours = list(file.parent.iterdir())
    if sum(path.suffix in MODEL_SUFFIXES for path in neighbours) != 1:
        return None
    yamls = [path for path in neighbours if path.suffix in SUFFIXES and path.is_file()]
    return yamls[0] if len(yamls) == 1 and _describes_a_model(yamls[0]) else None


def companion_yaml(config: RoformerConfig) -> str:
    """The YAML that MSST and the PyPI packages build the same model from; window and sinks as the paper's release.

    What their constructors have no argument for (an ``ff_mult`` other than 4) is listed by ``unsaid``.
    """
    sections = {
        "audio": {
            "chunk_size": round(config.chunk_seconds * config.sample_rate),
            "dim_f": config.n_fft // 2,
            "dim_t": config.frames(config.chunk_seconds),
            "hop_length": config.hop_length,
            "n_fft": config.n_fft,
            "num_channels": config.channels,
            "sample_rate": config.sample_rate,
            "min_mean_abs": 0.0,
        },
        "model": _model_section(config),
        "training": {
            "instruments": list(config.stems),
            "target_instrument": config.stems[0] if len(config.stems) == 1 else None,
            "use_amp": True,
        },
        "inference": {"batch_size": 1, "dim_t": config.frames(config.chunk_seconds), "num_overlap": 2},
    }
    return yaml.dump(sections, Dumper=_Dumper, sort_keys=False)


def unsaid(config: RoformerConfig) -> list[str]:
    """What the public code would build differently from this model's YAML, one sentence each."""
    lines = []
    if config.ff_mult != 4:
        lines.append(f"ff_mult is {config.ff_mult}: public code always builds 4")
    if config.mlp_expansion_factor != 4:
        lines.append(
            f"mlp_expansion_factor is {config.mlp_expansion_factor}: MSST reads it, "
            "melband-roformer-infer and bs-roformer-infer build 4 whatever the YAML says"
        )
    if config.window is not None or config.sinks:
        lines.append("a student runs here and in the paper's release; MSST and the packages have full attention only")
    if isinstance(config.window, tuple):
        lines.append("the layers' windows differ: the paper's release has one for all layers")
    if config.dilation != 1:
        lines.append(
            "a window is dilated: no other code supports that, and only this project reads wsa_dilation in the YAML"
        )
    if config.zero_dc and config.family == "mel_band":
        lines.append("zero_dc is on: MSST reads it, melband-roformer-infer keeps the DC bin")
    return lines


class _Dumper(yaml.SafeDumper):
    """Writes tuples as the public configs do, because their constructors check the type."""


_Dumper.add_representer(
    tuple, lambda dumper, data: dumper.represent_sequence("tag:yaml.org,2002:python/tuple", data, flow_style=True)
)


def _model_section(config: RoformerConfig) -> dict[str, Any]:
    is_mel = config.family == "mel_band"
    section: dict[str, Any] = {public: getattr(config, ours) for public, ours in _MODEL_KEYS.items()}
    if not is_mel:
        del section["num_bands"], section["sample_rate"]
        section["freqs_per_bands"] = config.band_widths
    section |= {
        "stereo": config.channels == 2,
        "num_stems": len(config.stems),
        "attn_dropout": 0.0,
        "ff_dropout": 0.0,
        "flash_attn": True,
        "dim_freqs_in": config.bins,
        "stft_normalized": False,
        "zero_dc": config.zero_dc,
        "mask_estimator_depth": config.mask_hidden_layers + (0 if is_mel else 1),
        "multi_stft_resolution_loss_weight": 1.0,
        "multi_stft_resolutions_window_sizes": (4096, 2048, 1024, 512, 256),
        "multi_stft_hop_size": 147,
        "multi_stft_normalized": False,
    }
    plain, own = TimeAttention(), config.time_attention.to_dict()
    if config.time_attention != plain:
        # Window and sinks always: the release requires both.
        section |= {
            key: own[name]
            for name, key in _PATTERN_KEYS.items()
            if name in _RELEASED_KEYS or own[name] != getattr(plain, name)
        }
    return section


def _read_pattern(model: Mapping[str, Any]) -> dict[str, Any]:
    """Window, sinks and dilation; a null window means full attention only beside sinks."""
    stated: dict[str, Any] = {}
    for name, key in _PATTERN_KEYS.items():
        value = model.get(key)
        if isinstance(value, (list, tuple)):
            each = tuple(None if one is None else _integer(key, one) for one in value)
            stated[name] = each[0] if len(set(each)) == 1 else each
        elif value is not None:
            stated[name] = _integer(key, value)
    if stated.get("sinks") and _PATTERN_KEYS["window"] in model:
        stated.setdefault("window", None)
    return stated


def _read_training(training: Mapping[str, Any]) -> dict[str, Any]:
    if not training.get("instruments"):
        return {}
    target = training.get("target_instrument")
    if isinstance(target, (list, tuple, Mapping)):
        raise UserError(f"target_instrument is {str(target)[:60]}: expected one name")
    return {"stems": (str(target),) if target else tuple(map(str, _sequence("instruments", training["instruments"])))}


def _read_audio(audio: Mapping[str, Any], stated: Mapping[str, Any]) -> dict[str, Any]:
    """Sample rate, where the model section has none, and the length of the chunks trained on."""
    found: dict[str, Any] = {}
    if audio.get("sample_rate") is not None and "sample_rate" not in stated:
        found["sample_rate"] = _integer("sample_rate", audio["sample_rate"])
    rate = found.get("sample_rate", stated.get("sample_rate"))
    if audio.get("chunk_size") and rate:
        found["chunk_seconds"] = _integer("chunk_size", audio["chunk_size"]) / rate
    return found


def _section(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = config.get(name)
    if section is not None and not isinstance(section, Mapping):
        raise UserError(f"{name} is {str(section)[:60]}: expected a section")
    return section or {}


def _integer(key: str, value: Any) -> int:
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if isinstance(value, bool) or not whole or abs(value) > LARGEST:
        raise UserError(f"{key} is {str(value)[:60]}: expected a whole number, at most {LARGEST}")
    return int(value)


def _boolean(key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise UserError(f"{key} is {value!r}: expected true or false")
    return value


def _sequence(key: str, value: Any) -> Sequence[Any]:
    if not isinstance(value, (list, tuple)):
        raise UserError(f"{key} is {value!r}: expected a list")
    return value


def _describes_a_model(path: Path) -> bool:
    try:
        return bool(_section(_read_yaml(path), "model"))
    except UserError:
        return False


def _read_yaml(path: Path) -> Mapping[str, Any]:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})") from None
    except (ValueError, TypeError, AttributeError, LookupError, RecursionError, yaml.YAMLError) as error:
        raise UserError(f"is not a readable model config: {one_line(error)}") from None  # PyYAML raises them all
    if not isinstance(content, Mapping):
        raise UserError(f"holds {type(content).__name__}: expected a YAML mapping with a model section")
    return content

"""The YAML that comes with a public checkpoint: what tensors cannot say, translated to our names."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from wsa_lightning.errors import UserError

_MODEL_KEYS = {
    "dim": "dim",
    "depth": "depth",
    "heads": "heads",
    "dim_head": "dim_head",
    "time_transformer_depth": "time_blocks",
    "freq_transformer_depth": "frequency_blocks",
    "num_bands": "mel_bands",
    "freqs_per_bands": "band_widths",
    "mlp_expansion_factor": "mlp_expansion_factor",
    "sample_rate": "sample_rate",
    "stft_n_fft": "n_fft",
    "stft_hop_length": "hop_length",
    "stft_win_length": "win_length",
    "zero_dc": "zero_dc",
    "wsa_window_len": "window",
    "n_wsa_sinks": "sinks",
}
# mask_estimator_depth means another number of layers in each family: the tensors tell (spec, section 1.5).


class _Loader(yaml.SafeLoader):
    """Safe YAML that understands ``!!python/tuple``, which public configs use, and nothing else of Python."""


def _tuple(loader: _Loader, node: yaml.SequenceNode) -> tuple[Any, ...]:
    return tuple(loader.construct_sequence(node))


_Loader.add_constructor("tag:yaml.org,2002:python/tuple", _tuple)


def read_companion(config: Path | str | Mapping[str, Any] | None) -> dict[str, Any]:
    """Fields of ``RoformerConfig`` stated by a companion YAML (its path, dict, or ``model:`` section).

    Raises:
        UserError: the file is unreadable, no mapping, or uses other Python tags.
    """
    if config is None:
        return {}
    if isinstance(config, (str, Path)):
        config = _read_yaml(Path(config))
    model = config["model"] if isinstance(config.get("model"), Mapping) else config
    stated = {ours: model[public] for public, ours in _MODEL_KEYS.items() if model.get(public) is not None}
    if "band_widths" in stated:
        stated["band_widths"] = tuple(stated["band_widths"])
    if "stereo" in model:
        stated["channels"] = 2 if model["stereo"] else 1
    training = config.get("training")
    if isinstance(training, Mapping) and training.get("instruments"):
        target = training.get("target_instrument")
        stated["stems"] = (target,) if target else tuple(training["instruments"])
    return stated


def _read_yaml(path: Path) -> Mapping[str, Any]:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path} is not a readable model config: {' '.join(str(error).split())}") from None
    if not isinstance(content, Mapping):
        raise UserError(f"{path} holds {type(content).__name__}: expected a YAML mapping with a model section")
    return content

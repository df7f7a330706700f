"""Public state dicts in and out: the layout of the released Mel-Band and BS Roformers and of the paper's student."""

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

import torch
from torch import Tensor

from wsa_lightning.checkpoints.companion import read_companion
from wsa_lightning.checkpoints.layout import is_rotary, ours_name, public_name
from wsa_lightning.checkpoints.student import Keep, to_student
from wsa_lightning.errors import UserError
from wsa_lightning.models import Roformer, RoformerConfig
from wsa_lightning.models.bands import band_entries
from wsa_lightning.models.rotary import rotary_frequencies

logger = logging.getLogger(__name__)

KEEP: Final = Keep.KEEP
WRAPPERS = ("state", "state_dict", "model_state_dict", "model")
PREFIXES = ("model.", "module.")
PAPER_WINDOW = 10


def from_public(
    state_dict: Mapping[str, Any],
    *,
    config: Path | str | Mapping[str, Any] | None = None,
    window: int | None | Literal[Keep.KEEP] = KEEP,
    sinks: int | Literal[Keep.KEEP] = KEEP,
) -> Roformer:
    """A Roformer from a public state dict, bare or wrapped; sizes are read off the tensors.

    Args:
        state_dict: names to tensors, as published (``golden/keys_*.json`` of the tests list three layouts).
        config: what tensors cannot say (hop, zero_dc, window): a companion YAML's path, its dict, or the dict
            of its ``model:`` section. Checked against the tensors.
        window: width of the time attention in frames, None for full; KEEP is what the file says.
        sinks: sink tokens; another number than the file's starts them afresh (``to_student``).

    Raises:
        UserError: tensors missing, unexpected or of other shapes, or a config that contradicts them.
    """
    state = unwrap(state_dict)
    stated = read_companion(config)
    inferred = _infer(state, stated)
    contradictions = [
        f"{key}: the config says {stated[key]}, the tensors {value}"
        for key, value in inferred.items()
        if key in stated and key != "stems" and stated[key] != value
    ]
    if contradictions:
        raise UserError(f"config and tensors disagree: {'; '.join(contradictions)}. Pass the YAML of this file")
    if inferred["sinks"] and "window" not in stated and window is KEEP:
        logger.warning("the file has sinks but names no window: taking %d frames, the paper's", PAPER_WINDOW)
        stated["window"] = PAPER_WINDOW
    model = _fill(RoformerConfig.from_dict({**stated, **inferred}), state)
    return to_student(model, window=window, sinks=sinks)


def to_public(model: Roformer) -> dict[str, Tensor]:
    """The model's tensors under their public names, ``rotary_embed.freqs`` included."""
    public = {public_name(name): tensor.detach() for name, tensor in model.state_dict().items()}
    frequencies = rotary_frequencies(model.config.dim_head)
    for name in [name for name in public if name.endswith(".to_qkv.weight")]:
        public[name.replace("to_qkv.weight", "rotary_embed.freqs")] = frequencies.clone()
    return public


def unwrap(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors inside a published checkpoint: wrappers (``state``, ...) opened, prefixes (``module.``) cut."""
    for wrapper in WRAPPERS:
        if isinstance(checkpoint.get(wrapper), Mapping):
            return unwrap(checkpoint[wrapper])
    state = {str(name): value for name, value in checkpoint.items()}
    for prefix in PREFIXES:
        if state and all(name.startswith(prefix) for name in state):
            return unwrap({name.removeprefix(prefix): value for name, value in state.items()})
    strangers = [name for name, value in state.items() if not isinstance(value, Tensor)]
    if strangers or not state:
        raise UserError(f"not a state dict: expected names to tensors, found {strangers[:3] or 'nothing'}")
    return state


def _infer(state: Mapping[str, Tensor], stated: Mapping[str, Any]) -> dict[str, Any]:
    """The architecture as far as tensors tell it."""
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}

    def count(pattern: str) -> int:
        """One more than the highest index that the pattern's group takes among the names."""
        return max((int(match[1]) for name in shapes if (match := re.match(pattern, name))), default=-1) + 1

    try:
        dim = shapes["band_split.to_features.0.1.weight"][0]
        heads = shapes["layers.0.0.layers.0.0.to_gates.weight"][0]
        feed_forward = shapes["layers.0.0.layers.0.1.net.1.weight"][0]
        mask_hidden = shapes["mask_estimators.0.to_freqs.0.0.0.weight"][0]
        qkv = shapes["layers.0.0.layers.0.0.to_qkv.weight"][0]
        widths = [
            shapes[f"band_split.to_features.{band}.0.gamma"][0]
            for band in range(count(r"band_split\.to_features\.(\d+)\."))
        ]
    except KeyError as missing:
        raise UserError(
            f"no tensor {missing} among {len(state)}: expected the public Mel-Band or BS Roformer layout, "
            f"found names such as {sorted(state)[:3]}"
        ) from None
    stems = count(r"mask_estimators\.(\d+)\.")
    inferred: dict[str, Any] = {
        "family": "band_split" if "final_norm.gamma" in shapes else "mel_band",
        "dim": dim,
        "depth": count(r"layers\.(\d+)\."),
        "heads": heads,
        "dim_head": qkv // (3 * heads),
        "time_blocks": count(r"layers\.0\.0\.layers\.(\d+)\."),
        "frequency_blocks": count(r"layers\.0\.1\.layers\.(\d+)\."),
        "ff_mult": feed_forward // dim,
        "mask_hidden_layers": count(r"mask_estimators\.0\.to_freqs\.0\.0\.(\d+)\.weight") // 2,
        "mlp_expansion_factor": mask_hidden // dim,
        "sinks": shapes["sink_tokens"][0] if "sink_tokens" in shapes else 0,
        "stems": _stem_names(stems, stated.get("stems")),
    }
    return inferred | _infer_bands(inferred["family"], widths, stated)


def _stem_names(count: int, stated: Any) -> tuple[str, ...]:
    """The stated names where there are as many as mask estimators, else vocals, or numbers."""
    if stated is not None and len(stated) == count:
        return tuple(stated)
    return ("vocals",) if count == 1 else tuple(f"stem_{number}" for number in range(count))


def _infer_bands(family: str, widths: list[int], stated: Mapping[str, Any]) -> dict[str, Any]:
    """Channels, STFT size and bands from the widths of the band split's inputs, 2 * C * bins_k each."""
    for channels in (stated["channels"],) if "channels" in stated else (2, 1):
        if family == "band_split":
            bins = sum(widths) // (2 * channels)
            n_fft = stated.get("n_fft", 2048)
            if bins == n_fft // 2 + 1:
                return {
                    "channels": channels,
                    "n_fft": n_fft,
                    "win_length": stated.get("win_length", n_fft),
                    "band_widths": tuple(width // (2 * channels) for width in widths),
                }
            continue
        for n_fft in (stated["n_fft"],) if "n_fft" in stated else (2048, 4096, 1024):
            rate = {"sample_rate": stated["sample_rate"]} if "sample_rate" in stated else {}
            guess = RoformerConfig(channels=channels, n_fft=n_fft, win_length=n_fft, mel_bands=len(widths), **rate)
            if [2 * len(entries) for entries in band_entries(guess)] == widths:
                return {
                    "channels": channels,
                    "n_fft": n_fft,
                    "win_length": stated.get("win_length", n_fft),
                    "mel_bands": len(widths),
                }
    raise UserError(
        f"{len(widths)} {family} bands with input widths {widths[:4]}... fit no known STFT: "
        "pass the companion YAML (config=) with stft_n_fft, sample_rate and stereo"
    )


def _fill(config: RoformerConfig, state: Mapping[str, Tensor]) -> Roformer:
    """Build the model where the tensors are and load every one of them; any left over or missing is an error."""
    with torch.device(next(iter(state.values())).device):
        model = Roformer(config)
    frequencies = rotary_frequencies(config.dim_head)
    ours: dict[str, Tensor] = {}
    unexpected = []
    for name, tensor in state.items():
        if is_rotary(name):
            if not tensor.is_meta and not torch.allclose(tensor.float().cpu(), frequencies, rtol=1e-3):
                raise UserError(f"{name} is not the constant 1/10000^(2i/dim_head): learned rotary is not supported")
        elif (own := ours_name(name)) is None:
            unexpected.append(name)
        else:
            ours[own] = tensor
    load_exactly(model, ours, unexpected=unexpected)
    return model


def load_exactly(model: Roformer, state: Mapping[str, Tensor], *, unexpected: list[str] | None = None) -> None:
    """``load_state_dict`` with a short readable difference instead of a page of names.

    Raises:
        UserError: a tensor is missing, unexpected or of another shape.
    """
    own = model.state_dict()
    differences = {
        "missing": sorted(set(own) - set(state)),
        "unexpected": sorted(set(state) - set(own)) + (unexpected or []),
        "other shape": [
            f"{name} {tuple(state[name].shape)} instead of {tuple(own[name].shape)}"
            for name in own
            if name in state and state[name].shape != own[name].shape
        ],
    }
    if any(differences.values()):
        lines = [
            f"{kind} {len(names)}: {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}"
            for kind, names in differences.items()
            if names
        ]
        raise UserError(f"tensors do not fit the architecture read off them; {'; '.join(lines)}")
    model.load_state_dict(dict(state))

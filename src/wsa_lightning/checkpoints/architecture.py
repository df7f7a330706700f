"""Which Roformer a public state dict belongs to, inferred from the names and shapes of its tensors."""

import logging
import re
from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

from torch import Tensor

from wsa_lightning.checkpoints.difference import nearest_layout, shapes_of
from wsa_lightning.errors import UserError
from wsa_lightning.models import RoformerConfig
from wsa_lightning.models.bands import band_entries

logger = logging.getLogger(__name__)

# Tried in this order if no YAML says it.
N_FFTS = (2048, 4096, 1024, 8192, 512)
SAMPLE_RATES = (44100, 48000, 32000, 22050, 16000)


def infer(state: Mapping[str, Tensor], stated: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of ``RoformerConfig`` that tensors tell: all but hop, zero_dc, window, dilation and the stems' names.

    Args:
        state: public names to tensors.
        stated: what a companion YAML says; if several STFTs fit the tensors, the stated one is used.

    Raises:
        UserError: tensors that sizes are read from are missing, or the bands fit no known STFT.
    """
    shapes = shapes_of(state)

    def count(pattern: str) -> int:
        """One more than the highest index that the pattern's group takes among the names."""
        return max((int(match[1][:18]) for name in shapes if (match := re.match(pattern, name))), default=-1) + 1

    try:
        dim = shapes["band_split.to_features.0.1.weight"][0]
        heads = shapes["layers.0.0.layers.0.0.to_gates.weight"][0]
        feed_forward = shapes["layers.0.0.layers.0.1.net.1.weight"][0]
        mask_hidden = shapes["mask_estimators.0.to_freqs.0.0.0.weight"][0]
        qkv = shapes["layers.0.0.layers.0.0.to_qkv.weight"][0]
        bands = count(r"band_split\.to_features\.(\d+)\.")
        widths = [shapes[f"band_split.to_features.{band}.0.gamma"][0] for band in range(min(bands, len(state)))]
        sinks = shapes["sink_tokens"][0] if "sink_tokens" in shapes else 0
    except IndexError:
        raise UserError(f"tensors from which sizes are read have no axes; {nearest_layout(shapes)}") from None
    except KeyError as missing:
        raise UserError(
            f"no tensor {missing} of the public Roformer layout among {len(state)}, such as {sorted(state)[:3]}; "
            f"{nearest_layout(shapes)}"
        ) from None
    if not (dim and heads):
        raise UserError(f"the tensors say dim {dim} and heads {heads}: expected at least 1 of each")
    counts = {
        "depth": count(r"layers\.(\d+)\."),
        "time_blocks": count(r"layers\.0\.0\.layers\.(\d+)\."),
        "frequency_blocks": count(r"layers\.0\.1\.layers\.(\d+)\."),
    }
    stems = count(r"mask_estimators\.(\d+)\.")
    if stated.get("num_stems", stems) != stems:
        raise UserError(
            f"num_stems: the config says {stated['num_stems']}, the tensors {stems}. Pass the YAML of this file"
        )
    if max(bands, stems, *counts.values()) > len(state):
        raise UserError(f"names number more layers, bands or stems than there are tensors ({len(state)})")
    inferred: dict[str, Any] = {
        "family": "band_split" if "final_norm.gamma" in shapes else "mel_band",
        "dim": dim,
        "heads": heads,
        "dim_head": qkv // (3 * heads),
        "ff_mult": feed_forward // dim,
        "mask_hidden_layers": count(r"mask_estimators\.0\.to_freqs\.0\.0\.(\d+)\.weight") // 2,
        "mlp_expansion_factor": mask_hidden // dim,
        "sinks": sinks,
        "stems": _stem_names(stems, stated.get("stems")),
        **counts,
    }
    bands_fit = _split_bands(widths, stated) if inferred["family"] == "band_split" else _mel_bands(widths, stated)
    if bands_fit is None:
        raise UserError(
            f"{bands} {inferred['family']} bands with input widths {widths[:4]}... fit no known STFT: "
            "pass the companion YAML (config=) with stft_n_fft, sample_rate and stereo"
        )
    return inferred | bands_fit | {"win_length": stated.get("win_length", bands_fit["n_fft"])}


def _stem_names(count: int, stated: Any) -> tuple[str, ...]:
    """The stated names where there are as many as mask estimators, else vocals, or numbers."""
    if stated is not None and len(stated) == count:
        return tuple(stated)
    if stated is not None:
        logger.warning(
            "the YAML names the stems %s, but the tensors hold %d: its names are ignored", list(stated), count
        )
    return ("vocals",) if count == 1 else tuple(f"stem_{number}" for number in range(count))


def _split_bands(widths: list[int], stated: Mapping[str, Any]) -> dict[str, Any] | None:
    """Channels, STFT size and band widths; a band's input holds 2 C bins numbers, all bands n_fft / 2 + 1 bins.

    That number of bins is odd for every n_fft in use, so the sum tells stereo from mono.
    """
    channels = 1 if sum(widths) % 4 else 2
    bins = sum(widths) // (2 * channels)
    n_fft = 2 * (bins - 1)
    known = n_fft in N_FFTS or n_fft == stated.get("n_fft")
    if not known or any(width % (2 * channels) for width in widths):
        return None
    band_widths = tuple(width // (2 * channels) for width in widths)
    return {"channels": channels, "n_fft": n_fft, "band_widths": band_widths}


def _mel_bands(widths: list[int], stated: Mapping[str, Any]) -> dict[str, Any] | None:
    """Channels, STFT size and sample rate whose mel filter bank has bands of these widths."""
    for rate, n_fft, channels in product(
        _first(stated.get("sample_rate"), SAMPLE_RATES),
        _first(stated.get("n_fft"), N_FFTS),
        _first(stated.get("channels"), (2, 1)),
    ):
        found: dict[str, Any] = {"channels": channels, "n_fft": n_fft, "sample_rate": rate, "mel_bands": len(widths)}
        try:
            entries = band_entries(RoformerConfig(win_length=n_fft, hop_length=1, **found))
        except UserError:
            continue  # this filter bank would leave a band empty
        if [2 * len(band) for band in entries] == widths:
            return found
    return None


def _first(stated: int | None, usual: tuple[int, ...]) -> Iterator[int]:
    """What the YAML says before what is usual."""
    if stated is not None:
        yield stated
    yield from (value for value in usual if value != stated)

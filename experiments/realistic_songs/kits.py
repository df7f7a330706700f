"""Hydrogen's drum kits, played stroke by stroke."""

import functools
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from .composer import RATE, Hit
from .sources import KITS

Signal = NDArray[np.float64]

# Names that instruments of the kits have for each drum, the best first; then the drum to take in its place.
NAMES: dict[str, tuple[str, str | None]] = {
    "kick": (r"pearl kick|bass ?drum|kick", None),
    "snare": (r"pearl snare$|snare rock|snare ?1|snare \(|^snare$|snare", None),
    "rim": (r"side stick|rim click|^stick|click", "snare"),
    "clap": (r"clap", "snare"),
    "hat": (r"hat closed|closed hh|hi-hat closed|hat.*cl", None),
    "pedal": (r"hat pedal|pedal hh|hi-hat pedal|hat.*pd", "hat"),
    "open": (r"hat open|open hh|hi-hat open|hat.*op", "hat"),
    "ride": (r"paiste ride$|ride rock|ride \(|^ride$|ride jazz|ride-crash|ride|hat low", "hat"),
    "crash": (r"sabian crash$|crash left|crash \(|^crash$|crash16|crash|hat.*op", "open"),
    "crash2": (r"crash right|crash jazz|china|crash20|crash|hat.*op", "open"),
    "tom_low": (r"tom floor|floor tom|tom low|drum 1", "kick"),
    "tom_mid": (r"tom 2|tom mid|^tom$|tomhi2|drum 2", "tom_low"),
    "tom_high": (r"tom 1|tom hi|^tom$|conga 1|drum 2", "tom_mid"),
    "shaker": (r"maraca|shaker|hat ring", "hat"),
    "tambourine": (r"tambourine|cowbell", "clap"),
    "conga": (r"conga|bongo", "tom_high"),
}
PANS = {
    "hat": 0.3, "pedal": 0.3, "open": 0.3, "ride": -0.35, "crash": -0.4, "crash2": 0.45, "tom_low": -0.4,
    "tom_mid": 0.05, "tom_high": 0.35, "shaker": 0.5, "tambourine": -0.5, "conga": 0.4,
}  # fmt: skip
_CYMBALS = ("hat", "pedal", "open", "ride", "crash", "crash2", "shaker", "tambourine")


@dataclass(frozen=True)
class Layer:
    """A recording of one stroke, for velocities up to `top`, with a gain."""

    path: Path
    top: float
    gain: float


def play_hydrogen(rng: np.random.Generator, hits: Sequence[Hit], kit: str, samples: int) -> Signal:
    """Render drum strokes with a Hydrogen kit to (2, samples)."""
    instruments = read_kit(kit)
    out = np.zeros((2, samples))
    for hit in hits:
        layers = instruments[_substitute(hit.drum, instruments)]
        layer = next((layer for layer in layers if hit.velocity <= layer.top), layers[-1])
        sound = _recording(layer.path) * layer.gain
        # Electronic kits have all their samples at full scale, cymbals too.
        cymbal = 0.55 if hit.drum in _CYMBALS and len(layers) == 1 else 1.0
        force = cymbal * hit.velocity * rng.uniform(0.92, 1.0) * (1.0 if len(layers) > 1 else hit.velocity**0.5)
        angle = (PANS.get(hit.drum, 0.0) + 1) * np.pi / 4
        placed = sound * (force * 2**0.5 * np.array([[np.cos(angle)], [np.sin(angle)]]))
        start = round(hit.start * RATE)
        length = min(placed.shape[1], samples - start)
        if length > 0:
            out[:, start : start + length] += placed[:, :length]
    return out


@functools.cache
def read_kit(kit: str) -> dict[str, tuple[Layer, ...]]:
    """The layers of each drum that a kit has, the softest first."""
    tree = ElementTree.parse(KITS / kit / "drumkit.xml")
    for element in tree.iter():
        element.tag = element.tag.rpartition("}")[2]  # some kits have a namespace, some have none
    found: dict[str, tuple[str, tuple[Layer, ...]]] = {}
    rows = [(_text(i, "name").lower(), _layers(KITS / kit, i)) for i in tree.iter("instrument")]
    for drum, (names, _) in NAMES.items():
        for wanted in names.split("|"):
            match = next((layers for name, layers in rows if layers and re.search(wanted, name)), None)
            if match:
                found[drum] = (wanted, match)
                break
    return {drum: layers for drum, (_, layers) in found.items()}


def _layers(folder: Path, instrument: ElementTree.Element) -> tuple[Layer, ...]:
    """An instrument's recordings; old kits name one file and no layers."""
    elements = list(instrument.iter("layer")) or [instrument]
    layers = [
        Layer(folder / _text(e, "filename"), float(_text(e, "max") or 1), float(_text(e, "gain") or 1))
        for e in elements
        if _text(e, "filename") and (folder / _text(e, "filename")).is_file()
    ]
    return tuple(sorted(layers, key=lambda layer: layer.top))


def _text(element: ElementTree.Element, name: str) -> str:
    return (element.findtext(name) or "").strip()


def _substitute(drum: str, instruments: dict[str, tuple[Layer, ...]]) -> str:
    """The drum itself, or what the kit has in its place."""
    while drum not in instruments:
        substitute = NAMES[drum][1]
        if substitute is None:
            return next(iter(instruments))
        drum = substitute
    return drum


@functools.lru_cache(maxsize=128)
def _recording(path: Path) -> NDArray[np.float32]:
    """A stroke as (2, N) at 44.1 kHz, at most four seconds."""
    audio, rate = soundfile.read(path, dtype="float64", always_2d=True)
    if rate != RATE:
        audio = soxr.resample(audio, rate, RATE)
    audio = audio[: 4 * RATE, :2]
    fade = min(len(audio), 400)
    audio[len(audio) - fade :] *= np.linspace(1, 0, fade)[:, None]
    return np.ascontiguousarray(np.broadcast_to(audio.T, (2, len(audio))), dtype=np.float32)

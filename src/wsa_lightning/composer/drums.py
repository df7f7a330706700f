"""The drum kit: each drum is synthesized once per piece, and each hit adds a copy of it."""

from collections.abc import Sequence

import numpy as np

from wsa_lightning.composer.score import Hit
from wsa_lightning.composer.sound import RATE, Signal, add_at, highpass, lowpass, pan

# Position of each drum between left (-1) and right (+1).
KIT = {"kick": 0.0, "snare": 0.05, "rim": -0.1, "hat": 0.35, "tom": -0.4, "crash": -0.3}


def play_drums(rng: np.random.Generator, hits: Sequence[Hit], samples: int) -> Signal:
    """Render drum hits to (2, samples)."""
    kit = {drum: pan(sound, KIT[drum]) for drum, sound in _build_kit(rng).items()}
    out = np.zeros((2, samples))
    for hit in hits:
        add_at(out, round(hit.start * RATE), kit[hit.drum] * hit.velocity)
    return out


def _build_kit(rng: np.random.Generator) -> dict[str, Signal]:
    """One mono sound for each drum, tuned at random."""
    snare_tone = _membrane(rng.uniform(170, 240), 1.3, 0.12)
    snare = _noise(rng, rng.uniform(0.15, 0.3), 1200.0)
    snare[: len(snare_tone)] += 0.6 * snare_tone[: len(snare)]
    return {
        "kick": 1.4 * _membrane(rng.uniform(42, 58), rng.uniform(2.5, 4.0), rng.uniform(0.25, 0.45)),
        "snare": snare,
        "rim": _membrane(rng.uniform(450, 700), 1.1, 0.06) + 0.3 * _noise(rng, 0.06, 2500.0),
        "hat": 0.45 * _noise(rng, rng.uniform(0.04, 0.12), 7000.0),
        "tom": _membrane(rng.uniform(90, 140), 1.6, 0.3),
        "crash": 0.5 * _noise(rng, 1.4, 4000.0),
    }


def _membrane(pitch: float, bend: float, decay: float) -> Signal:
    """A sine that falls from `bend` times `pitch` (Hz) to it, and by 60 dB in twice `decay` seconds."""
    time = np.arange(round(2 * decay * RATE)) / RATE
    frequency = pitch * (1 + (bend - 1) * np.exp(-time / 0.025))
    return np.sin(2 * np.pi * np.cumsum(frequency) / RATE) * 10 ** (-1.5 * time / decay)


def _noise(rng: np.random.Generator, decay: float, cutoff: float) -> Signal:
    """Noise above `cutoff` Hz that falls by 60 dB in twice `decay` seconds."""
    time = np.arange(round(2 * decay * RATE)) / RATE
    noise = lowpass(highpass(rng.standard_normal(len(time)), cutoff), 14000.0)
    return noise * 10 ** (-1.5 * time / decay)

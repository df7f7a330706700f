"""A piece from its seed: composed, synthesized, levelled, and summed as integers."""

import numpy as np
from numpy.typing import NDArray

from wsa_lightning.composer.band import bass_part, comping_part, drum_part, pad_part
from wsa_lightning.composer.drums import play_drums
from wsa_lightning.composer.instruments import play_bass, play_pad, play_plucked
from wsa_lightning.composer.melody import solo_part, sung_part
from wsa_lightning.composer.score import Ground, lay_ground
from wsa_lightning.composer.sound import RATE, Signal, pan, reverberate, room
from wsa_lightning.composer.voice import play_solo, sing

STEMS = ("drums", "bass", "other", "vocals")
PEAK = 0.85


def compose(seed: int, index: int, seconds: float) -> dict[str, NDArray[np.int16]]:
    """Compose and synthesize one piece.

    The same arguments give the same bytes. The vocals have the energy of everything else together, within
    0.8 dB: the mixture as an estimate of the vocals scores between -0.8 and +0.8 dB uSDR.

    Args:
        seed: of the collection, 0 or more.
        index: of the piece within the collection, 0 or more.
        seconds: its length.

    Returns:
        "vocals", "drums", "bass", "other", and "mixture", their exact sum: int16 of shape
        (round(seconds * 44100), 2), at 44.1 kHz.

    Raises:
        ValueError: the length rounds to 0 samples, or a number is negative.
    """
    samples = round(seconds * RATE)
    if samples < 1:
        raise ValueError(f"a piece of {seconds} s has {samples} samples, expected at least 1")
    # One random stream for each player, so that a change to one does not change the parts of the others.
    streams = np.random.SeedSequence([seed, index]).spawn(6)
    common, drums, bass, other, vocals, desk = (np.random.Generator(np.random.PCG64(s)) for s in streams)
    ground = lay_ground(common, seconds)
    # Shorter vocal tracts (a larger scale) belong to higher voices: G3 for a tenor, G4 for a soprano.
    tract = float(common.uniform(0.95, 1.25))
    centre = 55 + 40 * (tract - 0.95) + float(common.uniform(-2, 2))
    response = room(common, float(common.uniform(0.45, 0.9)))
    words = sung_part(vocals, ground, centre)
    stems = {
        "drums": play_drums(drums, drum_part(drums, ground), samples),
        "bass": play_bass(bass, bass_part(bass, ground), samples),
        "other": _play_other(other, ground, centre, tract, samples),
        "vocals": pan(sing(vocals, words, tract, samples), vocals.uniform(-0.2, 0.2)),
    }
    for name, low, high in (("other", 0.1, 0.3), ("vocals", 0.1, 0.3)):
        stems[name] = reverberate(stems[name], response, desk.uniform(low, high))
    return _quantise(_level(desk, stems))


def _play_other(rng: np.random.Generator, ground: Ground, centre: float, tract: float, samples: int) -> Signal:
    """Plucked chords, organ point and solo, mixed to (2, samples), around the singer's register."""
    comping = comping_part(rng, ground, centre + rng.uniform(-3, 6))
    held = pad_part(ground, centre + rng.uniform(-3, 3))
    line = solo_part(rng, ground, centre + rng.uniform(-3, 3))
    solo = play_solo(rng, line, tract * rng.uniform(1.3, 1.6), samples)  # smaller than a singer's vocal tract
    parts = (
        (play_plucked(rng, comping, samples), rng.uniform(-8, -4)),
        (play_pad(rng, held, samples), 0.0),
        (pan(solo, rng.uniform(-0.3, 0.3)), rng.uniform(-12, -8)),
    )
    return sum((_gain(decibels) * _unit_power(part) for part, decibels in parts), np.zeros((2, samples)))


def _gain(decibels: float) -> float:
    """Amplitude of a level in dB."""
    return float(10 ** (decibels / 20))


def _unit_power(signal: Signal) -> Signal:
    """Scale a signal to mean square 1; silence is returned unchanged."""
    power = float(np.mean(signal**2)) if signal.size else 0.0
    return signal / power**0.5 if power > 0 else signal


def _level(rng: np.random.Generator, stems: dict[str, Signal]) -> dict[str, Signal]:
    """Balance the accompaniment, match the vocals to it within 0.8 dB, and scale the sum to ``PEAK``."""
    shares = {"drums": rng.uniform(-3, 1), "bass": rng.uniform(-3, 1), "other": rng.uniform(-4, -1)}
    band = {name: _gain(share) * _unit_power(stems[name]) for name, share in shares.items()}
    backing = band["drums"] + band["bass"] + band["other"]
    loudness = float(np.mean(backing**2)) ** 0.5 * _gain(rng.uniform(-0.8, 0.8))
    levelled = {**band, "vocals": loudness * _unit_power(stems["vocals"])}
    peak = float(np.max(np.abs(backing + levelled["vocals"])))
    return {name: levelled[name] * (PEAK / peak) for name in STEMS}


def _quantise(stems: dict[str, Signal]) -> dict[str, NDArray[np.int16]]:
    """Round each stem to (N, 2) int16, then sum the integers, so that the mixture is exact."""
    rounded = {name: np.rint(stem.T * 32767).astype(np.int16) for name, stem in stems.items()}
    mixture = rounded["drums"] + rounded["bass"] + rounded["other"] + rounded["vocals"]
    return {**rounded, "mixture": mixture}

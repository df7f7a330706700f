"""Bass, plucked strings and pad."""

from collections.abc import Sequence

import numpy as np

from wsa_lightning.composer.score import Note
from wsa_lightning.composer.sound import (
    RATE,
    Signal,
    add_at,
    curve_length,
    held_level,
    held_pitch,
    hertz,
    lowpass,
    pan,
    resonate,
    sawtooth,
    smooth,
    to_samples,
    wander,
)
from wsa_lightning.composer.vowels import formants


def play_bass(rng: np.random.Generator, notes: Sequence[Note], samples: int) -> Signal:
    """Render a monophonic bass line to (2, samples): a filtered sawtooth over its sine."""
    points = curve_length(samples)
    frequency = to_samples(hertz(smooth(held_pitch(notes, points), 0.02)), samples)
    level = held_level([(n.start, n.end - 0.02, n.velocity) for n in notes], points)
    bright = lowpass(sawtooth(frequency), rng.uniform(350, 1100))
    deep = np.sin(2 * np.pi * np.cumsum(frequency) / RATE)
    blend = rng.uniform(0.3, 0.9)
    return pan((blend * bright + deep) * to_samples(smooth(level, 0.02), samples), 0.0)


def play_plucked(rng: np.random.Generator, notes: Sequence[Note], samples: int) -> Signal:
    """Render plucked or struck notes to (2, samples); each pitch is synthesized once."""
    pluck_point = rng.uniform(0.12, 0.45)
    tilt, decay = rng.uniform(0.8, 1.6), rng.uniform(0.5, 1.6)
    side = rng.uniform(0.15, 0.5) * rng.choice([-1, 1])
    strings = {pitch: _string(pitch, pluck_point, tilt, decay) for pitch in {n.pitch for n in notes}}
    out = np.zeros(samples)
    for note in notes:
        add_at(out, round(note.start * RATE), strings[note.pitch] * note.velocity)
    return pan(out, side)


def _string(pitch: float, pluck_point: float, tilt: float, decay: float) -> Signal:
    """Partials of a string plucked at a fraction of its length; the k-th decays 1 + k / 6 times faster."""
    time = np.arange(round(1.2 * decay * RATE)) / RATE
    fundamental = 440 * 2 ** ((pitch - 69) / 12)
    # The partials are the powers of one decaying phasor: one multiplication each instead of a sine.
    phasor = np.exp((2j * np.pi * fundamental - 1.15 / decay) * time)
    partial = np.exp(-5.75 / decay * time) * phasor
    wave = np.zeros(len(time))
    for k in range(1, min(24, int(10000 / fundamental)) + 1):
        wave += np.sin(np.pi * k * pluck_point) / k**tilt * partial.imag
        partial *= phasor
    wave[-441:] *= np.linspace(1, 0, 441)
    return wave


def play_pad(rng: np.random.Generator, lines: Sequence[Sequence[Note]], samples: int) -> Signal:
    """Render held chords to (2, samples): one sawtooth per voice, spread left to right, filtered by a vowel."""
    points = curve_length(samples)
    vowel = formants(str(rng.choice(["a", "o", "u"])), rng.uniform(0.85, 1.1))
    attack = rng.uniform(0.1, 0.3)
    out = np.zeros((2, samples))
    for line, position in zip(lines, (-0.6, 0.5, 0.1), strict=True):
        pitch = smooth(held_pitch(line, points), 0.03) + 0.01 * wander(rng, points, 2.0)
        level = held_level([(n.start, n.end - attack / 2, n.velocity) for n in line], points)
        wave = sawtooth(to_samples(hertz(pitch), samples), rng.random())
        out += pan(resonate(wave, vowel) * to_samples(smooth(level, attack), samples), position)
    return out

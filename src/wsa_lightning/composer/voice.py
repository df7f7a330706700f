"""The singer and the solo instrument: one formant synthesizer, distinguishable by what they do over time.

Both are a sawtooth with breath noise through the formants of a vowel, in the same register and near the
centre, so that a few milliseconds seldom distinguish them. The singer has syllables: consonants, vowels that
change, scoops into a note, a fast vibrato that starts early. The solo keeps one timbre through slurred notes,
and its vibrato is slower and starts later.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wsa_lightning.composer.melody import Syllable
from wsa_lightning.composer.score import Note
from wsa_lightning.composer.sound import (
    CONTROL_RATE,
    RATE,
    Signal,
    add_at,
    curve_length,
    held_level,
    held_pitch,
    hertz,
    highpass,
    lowpass,
    resonate,
    sawtooth,
    smooth,
    to_samples,
    wander,
)
from wsa_lightning.composer.vowels import formants


@dataclass(frozen=True)
class Vibrato:
    """Rate in Hz, depth in semitones, and the seconds of a note before it begins and until it is full."""

    rate: float
    depth: float
    delay: float
    rise: float


@dataclass(frozen=True)
class Burst:
    """An unvoiced consonant: noise around `centre` Hz, `width` Hz wide, `seconds` long, with a gain."""

    centre: float
    width: float
    seconds: float
    gain: float


UNVOICED = {
    "s": Burst(6500, 2500, 0.11, 0.5),
    "sh": Burst(3200, 1500, 0.11, 0.5),
    "f": Burst(5000, 6000, 0.09, 0.25),
    "t": Burst(4200, 3000, 0.035, 0.7),
    "k": Burst(1900, 900, 0.045, 0.7),
    "p": Burst(900, 900, 0.035, 0.7),
}
HUM_SECONDS = 0.07


def sing(rng: np.random.Generator, syllables: Sequence[Syllable], tract: float, samples: int) -> Signal:
    """Render sung syllables to mono (samples,); `tract` scales the formants (1: a tenor)."""
    notes = [syllable.note for syllable in syllables]
    points = curve_length(samples)
    vibrato = Vibrato(rng.uniform(5.2, 6.6), rng.uniform(0.2, 0.5), rng.uniform(0.15, 0.35), rng.uniform(0.2, 0.4))
    pitch = _pitch_curve(rng, notes, vibrato, rng.uniform(0.06, 0.12), points)
    scoops = [(n.start, n.start + 0.06, -rng.uniform(0.5, 2.0)) for n in notes if rng.random() < 0.5]
    pitch += smooth(held_level(scoops, points), 0.08)
    level = smooth(held_level(_voiced_spans(syllables), points), 0.05)
    source = _breathy_source(rng, pitch, level, rng.uniform(0.02, 0.08), samples)
    voice = _articulate(source, syllables, tract)
    for syllable in syllables:
        if syllable.consonant in UNVOICED:
            _add_burst(rng, voice, syllable, rng.uniform(0.8, 1.2))
    return voice


def play_solo(rng: np.random.Generator, notes: Sequence[Note], tract: float, samples: int) -> Signal:
    """Render the solo instrument to mono (samples,); `tract` scales its formants as it does a singer's."""
    points = curve_length(samples)
    vibrato = Vibrato(rng.uniform(3.2, 4.6), rng.uniform(0.25, 0.6), rng.uniform(0.25, 0.5), rng.uniform(0.3, 0.6))
    pitch = _pitch_curve(rng, notes, vibrato, rng.uniform(0.03, 0.12), points)
    level = smooth(held_level([(n.start, n.end - 0.03, n.velocity) for n in notes], points), 0.08)
    source = _breathy_source(rng, pitch, level, rng.uniform(0.02, 0.08), samples)
    return resonate(source, formants(str(rng.choice(["a", "e", "i", "o", "u"])), tract))


def _pitch_curve(
    rng: np.random.Generator, notes: Sequence[Note], vibrato: Vibrato, glide: float, points: int
) -> Signal:
    """MIDI pitch of a line with glides of `glide` seconds, drift and vibrato."""
    pitch = smooth(held_pitch(notes, points), glide) + 0.08 * wander(rng, points, 3.0)
    depth = np.zeros(points)
    for note in notes:
        first, last = round(note.start * CONTROL_RATE), min(round(note.end * CONTROL_RATE), points)
        elapsed = np.arange(max(last - first, 0)) / CONTROL_RATE - vibrato.delay
        depth[first:last] = vibrato.depth * np.clip(elapsed / vibrato.rise, 0, 1)
    rate = vibrato.rate * (1 + 0.06 * wander(rng, points, 2.0))
    turns = rng.random() + np.cumsum(rate) / CONTROL_RATE
    return pitch + smooth(depth, 0.05) * np.sin(2 * np.pi * turns)


def _breathy_source(rng: np.random.Generator, pitch: Signal, level: Signal, breath: float, samples: int) -> Signal:
    """Glottal pulses, or a bowed string: a sawtooth, softer above 2 kHz, with noise."""
    shimmer = 1 + 0.06 * wander(rng, len(level), 12.0)
    wave = sawtooth(to_samples(hertz(pitch), samples), rng.random())
    wave = lowpass(wave, 2000.0) + 0.5 * wave
    return (wave + breath * rng.standard_normal(samples)) * to_samples(level * shimmer, samples)


def _voiced_spans(syllables: Sequence[Syllable]) -> list[tuple[float, float, float]]:
    """Start, end and strength of voicing; it stops while the next unvoiced consonant sounds."""
    spans = []
    for number, syllable in enumerate(syllables):
        note = syllable.note
        following = syllables[number + 1] if number + 1 < len(syllables) else None
        end = note.end
        if following is not None and following.consonant in UNVOICED:
            end = min(end, following.note.start - UNVOICED[following.consonant].seconds)
        spans.append((note.start, end, note.velocity))
    return spans


def _articulate(source: Signal, syllables: Sequence[Syllable], tract: float) -> Signal:
    """Filter each segment of the source with its own formants, cross-faded over 40 ms."""
    out = np.zeros(len(source))
    for syllable in syllables:
        start, end = syllable.note.start, syllable.note.end
        if syllable.consonant is not None and syllable.consonant not in UNVOICED:
            _add_segment(out, source, start, start + HUM_SECONDS, formants("nasal", tract))
            start += HUM_SECONDS
        _add_segment(out, source, start, end, formants(syllable.vowel, tract))
    return out


def _add_segment(
    out: Signal, source: Signal, start: float, end: float, resonances: list[tuple[float, float, float]]
) -> None:
    """Add the source between two times (seconds), faded in and out and filtered by the resonances."""
    fade, ring = 0.02, 0.05
    first = max(0, round((start - fade) * RATE))
    piece = source[first : max(first, round((end + fade + ring) * RATE))]
    if len(piece) == 0:
        return
    time = (first + np.arange(len(piece))) / RATE
    weight = np.interp(time, [start - fade, start + fade, end - fade, end + fade], [0, 1, 1, 0])
    add_at(out, first, resonate(piece * weight, resonances))


def _add_burst(rng: np.random.Generator, voice: Signal, syllable: Syllable, force: float) -> None:
    """Add an unvoiced consonant that ends where its vowel begins."""
    burst = UNVOICED[syllable.consonant or ""]
    noise = rng.standard_normal(round(burst.seconds * RATE)) * force
    shaped = resonate(noise, [(burst.centre, burst.width, burst.gain)])
    shaped = highpass(shaped, burst.centre / 3) * np.hanning(len(shaped))
    add_at(voice, round(syllable.note.start * RATE) - len(shaped), shaped)

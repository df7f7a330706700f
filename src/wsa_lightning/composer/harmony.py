"""Keys, modes and chord progressions."""

from dataclasses import dataclass

import numpy as np

MODES: dict[str, tuple[int, ...]] = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "minor": (0, 2, 3, 5, 7, 8, 10),
}

# Roots as scale degrees counted from 0, one chord per bar.
PROGRESSIONS: dict[str, tuple[tuple[int, ...], ...]] = {
    "major": ((0, 4, 5, 3), (0, 5, 3, 4), (5, 3, 0, 4), (0, 3, 0, 4), (0, 2, 3, 4), (1, 4, 0, 5)),
    "mixolydian": ((0, 6, 3, 0), (0, 3, 6, 3), (0, 4, 6, 3)),
    "dorian": ((0, 3, 0, 3), (0, 6, 3, 0), (0, 2, 3, 6)),
    "minor": ((0, 5, 2, 6), (0, 3, 5, 6), (0, 6, 5, 6), (0, 2, 6, 3), (5, 6, 0, 0)),
}

BARS_PER_SECTION = 4


@dataclass(frozen=True)
class Harmony:
    """A key, and one chord for each bar.

    Attributes:
        tonic: pitch class of the tonic, 0 (C) to 11 (B).
        scale: the mode's seven steps, in semitones above the tonic.
        roots: the chord of each bar, as a scale degree counted from 0.
        sevenths: whether chords carry their seventh.
    """

    tonic: int
    scale: tuple[int, ...]
    roots: tuple[int, ...]
    sevenths: bool

    def pitch(self, degree: int) -> int:
        """MIDI pitch of a scale degree; degree 0 is the tonic in the octave from middle C (60)."""
        octave, step = divmod(degree, 7)
        return 60 + self.tonic + 12 * octave + self.scale[step]

    def degree(self, pitch: float) -> int:
        """The scale degree nearest to a MIDI pitch."""
        guess = round((pitch - self.pitch(0)) * 7 / 12)
        return min(range(guess - 2, guess + 3), key=lambda d: (abs(self.pitch(d) - pitch), d))

    def is_chord_tone(self, bar: int, degree: int) -> bool:
        """Whether a scale degree belongs to the triad of that bar."""
        return (degree - self.roots[bar]) % 7 in (0, 2, 4)

    def voicing(self, bar: int, centre: float) -> tuple[int, ...]:
        """MIDI pitches of the bar's chord, each in the octave nearest to `centre`, ascending.

        The nearest octave keeps the steps from chord to chord small.
        """
        members = (0, 2, 4, 6) if self.sevenths else (0, 2, 4)
        pitches = (self.pitch(self.roots[bar] + member) for member in members)
        return tuple(sorted(pitch + 12 * round((centre - pitch) / 12) for pitch in pitches))


def choose_harmony(rng: np.random.Generator, bars: int) -> Harmony:
    """Draw a key, a mode, and two four-chord progressions that alternate as verse and chorus."""
    mode = str(rng.choice(list(MODES), p=(0.4, 0.15, 0.15, 0.3)))
    choices = PROGRESSIONS[mode]
    verse, chorus = (choices[i] for i in rng.choice(len(choices), size=2, replace=False))
    sections = (verse, chorus)
    roots = tuple(sections[bar // BARS_PER_SECTION % 2][bar % BARS_PER_SECTION] for bar in range(bars))
    return Harmony(int(rng.integers(12)), MODES[mode], roots, bool(rng.random() < 0.35))

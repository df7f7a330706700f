"""What a score holds: notes and hits, tempo and harmony."""

import math
from dataclasses import dataclass

import numpy as np

from wsa_lightning.composer.harmony import Harmony, choose_harmony

BEATS_PER_BAR = 4


@dataclass(frozen=True)
class Note:
    """One note: start and length in seconds, MIDI pitch, and velocity in (0, 1]."""

    start: float
    length: float
    pitch: float
    velocity: float

    @property
    def end(self) -> float:
        """When the note stops, in seconds."""
        return self.start + self.length


@dataclass(frozen=True)
class Hit:
    """One stroke on a drum, named as in `drums.KIT`: start in seconds, velocity in (0, 1]."""

    drum: str
    start: float
    velocity: float


@dataclass(frozen=True)
class Ground:
    """What all players share: tempo and harmony.

    Attributes:
        tempo: in beats per minute.
        swing: delay of the off-beat eighths, in beats.
        bars: whole bars needed to cover the piece.
        harmony: the key and the chord of each bar.
    """

    tempo: float
    swing: float
    bars: int
    harmony: Harmony

    @property
    def beats(self) -> int:
        """Length in beats."""
        return self.bars * BEATS_PER_BAR

    def seconds(self, beat: float) -> float:
        """Time of a beat; off-beat eighths are swung."""
        late = self.swing if math.isclose(beat % 1, 0.5) else 0.0
        return (beat + late) * 60 / self.tempo

    def bar(self, beat: float) -> int:
        """The bar that a beat lies in; the last one for beats past the end."""
        return min(int(beat // BEATS_PER_BAR), self.bars - 1)

    def note(self, beat: float, beats: float, pitch: float, velocity: float) -> Note:
        """A note whose start and length are given in beats."""
        start = self.seconds(beat)
        return Note(start, self.seconds(beat + beats) - start, pitch, velocity)


def lay_ground(rng: np.random.Generator, seconds: float) -> Ground:
    """Draw tempo, swing and harmony of a piece."""
    tempo = float(rng.uniform(78, 128))
    swing = float(rng.choice([0.0, 0.0, 0.08, 0.16]))
    bars = math.ceil(seconds * tempo / 60 / BEATS_PER_BAR)
    return Ground(tempo, swing, bars, choose_harmony(rng, bars))

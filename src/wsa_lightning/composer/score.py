"""The song on paper: tempo, harmony, and who plays which note when."""

import math
from dataclasses import dataclass

import numpy as np

from wsa_lightning.data.songs.harmony import Harmony, choose_harmony

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
    """What all players share: the pulse and the harmony.

    Attributes:
        tempo: beats a minute.
        swing: how late the off-beat eighths come, as a share of a beat.
        bars: whole bars needed to cover the song.
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
        """When a beat falls; off-beat eighths are swung."""
        late = self.swing if math.isclose(beat % 1, 0.5) else 0.0
        return (beat + late) * 60 / self.tempo

    def bar(self, beat: float) -> int:
        """The bar a beat lies in; past the end, the last one."""
        return min(int(beat // BEATS_PER_BAR), self.bars - 1)

    def note(self, beat: float, beats: float, pitch: float, velocity: float) -> Note:
        """A note placed in beats."""
        start = self.seconds(beat)
        return Note(start, self.seconds(beat + beats) - start, pitch, velocity)


def lay_ground(rng: np.random.Generator, seconds: float) -> Ground:
    """Draw tempo, swing and harmony of a song."""
    tempo = float(rng.uniform(78, 128))
    swing = float(rng.choice([0.0, 0.0, 0.08, 0.16]))
    bars = math.ceil(seconds * tempo / 60 / BEATS_PER_BAR)
    return Ground(tempo, swing, bars, choose_harmony(rng, bars))

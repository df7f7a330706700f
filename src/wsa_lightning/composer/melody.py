"""The sung line with its syllables, and the solo instrument that answers it in the same register."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wsa_lightning.composer.score import BEATS_PER_BAR, Ground, Note

# Rhythm cells in beats; long notes are frequent, because a held vowel is what the solo can be mistaken for.
SUNG_CELLS = ((1.0,), (0.5, 0.5), (1.5, 0.5), (2.0,), (0.5, 1.0, 0.5), (0.75, 0.75, 0.5), (1.0, 1.0))
SOLO_CELLS = ((2.0,), (3.0, 1.0), (1.0, 1.0), (1.5, 0.5), (2.5, 1.5))

CONSONANTS = ("s", "sh", "f", "t", "k", "p", "m", "n", "l")
VOWELS = ("a", "e", "i", "o", "u")
PHRASE_BEATS = 2 * BEATS_PER_BAR


@dataclass(frozen=True)
class Syllable:
    """A sung note: its vowel, and the consonant before it (None: slurred from the note before)."""

    note: Note
    vowel: str
    consonant: str | None


def sung_part(rng: np.random.Generator, ground: Ground, centre: float) -> list[Syllable]:
    """Phrases of two bars around the MIDI pitch `centre`; the voice is silent for about a third of the time.

    Two rhythms alternate in the order A A B A, so that phrases resemble each other as verses do.
    """
    rhythms = [_phrase_rhythm(rng, float(rng.choice([3.5, 4.0, 4.5, 5.0]))) for _ in "AB"]
    pickup = float(rng.choice([0.0, 0.5, 1.0]))
    syllables: list[Syllable] = []
    for phrase in range(-(-ground.beats // PHRASE_BEATS)):
        rhythm = rhythms[(0, 0, 1, 0)[phrase % 4]]
        line = _walk(rng, ground, phrase * PHRASE_BEATS + pickup, rhythm, centre)
        syllables += _set_words(rng, line)
    return syllables


def solo_part(rng: np.random.Generator, ground: Ground, centre: float) -> list[Note]:
    """Long notes over and between the sung phrases, around the MIDI pitch `centre`."""
    notes: list[Note] = []
    beat = float(rng.choice([0.5, 1.0, 2.0]))
    while beat < ground.beats:
        cells = [SOLO_CELLS[rng.integers(len(SOLO_CELLS))] for _ in range(2)]
        rhythm = [beats for cell in cells for beats in cell]
        notes += _walk(rng, ground, beat, rhythm, centre)
        beat += sum(rhythm) + float(rng.choice([0.0, 0.5, 1.0, 2.0]))
    return notes


def _phrase_rhythm(rng: np.random.Generator, beats: float) -> list[float]:
    """Note lengths that add up to `beats`; the last one is long."""
    last = float(rng.choice([1.5, 2.0]))
    rhythm: list[float] = []
    while sum(rhythm) < beats - last:
        rhythm += SUNG_CELLS[rng.integers(len(SUNG_CELLS))]
    while sum(rhythm) > beats - 1:
        rhythm.pop()
    return [*rhythm, beats - sum(rhythm)]


def _walk(rng: np.random.Generator, ground: Ground, beat: float, rhythm: Sequence[float], centre: float) -> list[Note]:
    """A line that mostly moves by steps of the scale, rarely leaps, and has chord tones on the beat."""
    degree = ground.harmony.degree(centre + rng.uniform(-4, 4))
    notes = []
    for beats in rhythm:
        pull = 1 if ground.harmony.pitch(degree) < centre else -1
        degree += int(rng.choice([-2, -1, -1, 0, 1, 1, 2])) + (pull if rng.random() < 0.35 else 0)
        if abs(ground.harmony.pitch(degree) - centre) > 9:
            degree = ground.harmony.degree(centre + 5 * -pull)
        if beat % 1 == 0:
            while not ground.harmony.is_chord_tone(ground.bar(beat), degree):
                degree += pull
        notes.append(ground.note(beat, beats, ground.harmony.pitch(degree), rng.uniform(0.7, 1)))
        beat += beats
    return notes


def _set_words(rng: np.random.Generator, line: Sequence[Note]) -> list[Syllable]:
    """Give each note a syllable; one in six is slurred, on the vowel of the note before."""
    syllables: list[Syllable] = []
    for note in line:
        if syllables and rng.random() < 1 / 6:
            syllables.append(Syllable(note, syllables[-1].vowel, None))
        else:
            syllables.append(Syllable(note, str(rng.choice(VOWELS)), str(rng.choice(CONSONANTS))))
    return syllables

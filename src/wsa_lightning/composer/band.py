"""The accompaniment as notes: drum patterns, bass lines, broken chords and pads."""

import numpy as np

from wsa_lightning.composer.score import BEATS_PER_BAR, Ground, Hit, Note

# A bar in sixteenths: "X" an accent, "x" a stroke, "." nothing.
GROOVES: dict[str, dict[str, str]] = {
    "rock": {"kick": "X.....x.X.......", "snare": "....X.......X...", "hat": "x.x.x.x.x.x.x.x."},
    "four": {"kick": "X...X...X...X...", "snare": "....X.......X...", "hat": "..X...X...X...X."},
    "half": {"kick": "X..x......x.....", "snare": "........X.......", "hat": "x.xxx.x.x.xxx.x."},
    "break": {"kick": "X.x.......xx....", "snare": "....X..x.x..X..x", "hat": "x.x.x.x.x.x.x.x."},
    "ballad": {"kick": "X.......X.x.....", "rim": "....x.......x...", "hat": "x...x...x...x..."},
    "bossa": {"kick": "X..xX..xX..xX..x", "rim": "x..x..x...x..x..", "hat": "x.x.x.x.x.x.x.x."},
    "toms": {"kick": "X.....X.....X...", "snare": "....X.......X...", "tom": "..x..x....x..x.x"},
}
FILL = {"kick": "X...X...", "snare": "....x.xX", "tom": "x.xx..x."}

# Onset and length in beats, and the member of the chord: 0 the root, 1 the fifth, 2 the octave.
BASS_LINES: tuple[tuple[tuple[float, float, int], ...], ...] = (
    ((0, 1.9, 0), (2, 1.9, 0)),
    tuple((eighth / 2, 0.45, 0) for eighth in range(8)),
    ((0, 1.4, 0), (1.5, 0.5, 0), (2, 0.9, 1), (3, 0.9, 2)),
    ((0, 0.7, 0), (0.75, 0.7, 0), (1.5, 1, 1), (2.5, 0.5, 0), (3, 0.9, 2)),
    ((0, 0.9, 0), (1, 0.9, 1), (2, 0.9, 2), (3, 0.9, 1)),
)

# Onsets in beats and which chord members sound: an index, or None for all of them.
COMPING: tuple[tuple[tuple[float, int | None], ...], ...] = (
    tuple((eighth / 2, (0, 1, 2, 1)[eighth % 4]) for eighth in range(8)),
    tuple((eighth / 2, (0, 2, 1, 2, 3, 2, 1, 2)[eighth]) for eighth in range(8)),
    ((0.5, None), (1.5, None), (2.5, None), (3.5, None)),
    ((0, None), (1.5, None), (3, None)),
    ((0, None), (1, None), (2, None), (2.5, None), (3.5, None)),
)

ACCENTS = {"X": 1.0, "x": 0.6}


def drum_part(rng: np.random.Generator, ground: Ground) -> list[Hit]:
    """A repeated groove with small random deviations in time and velocity, and a fill and a crash every four bars."""
    groove = GROOVES[str(rng.choice(list(GROOVES)))]
    hits = []
    for bar in range(ground.bars):
        if bar % 4 == 0:
            hits.append(Hit("crash", ground.seconds(bar * BEATS_PER_BAR), 0.7))
        for drum in dict.fromkeys((*groove, *FILL)):
            strokes = groove.get(drum, "." * 16)
            if bar % 4 == 3:
                strokes = strokes[:8] + FILL.get(drum, "." * 8)
            for step, stroke in enumerate(strokes):
                if stroke != ".":
                    start = ground.seconds(bar * BEATS_PER_BAR + step / 4) + rng.normal(0, 0.003)
                    hits.append(Hit(drum, max(start, 0.0), ACCENTS[stroke] * rng.uniform(0.8, 1)))
    return hits


def bass_part(rng: np.random.Generator, ground: Ground) -> list[Note]:
    """Roots, fifths and octaves under the chords, between E1 (28) and about G3 (55)."""
    line = BASS_LINES[rng.integers(len(BASS_LINES))]
    notes = []
    for bar, degree in enumerate(ground.harmony.roots):
        root = 28 + (ground.harmony.pitch(degree) - 28) % 12
        fifth = root + ground.harmony.pitch(degree + 4) - ground.harmony.pitch(degree)
        members = (root, fifth, root + 12)
        for onset, beats, member in line:
            beat = bar * BEATS_PER_BAR + onset
            notes.append(ground.note(beat, beats, members[member], rng.uniform(0.75, 1)))
    return notes


def comping_part(rng: np.random.Generator, ground: Ground, centre: float) -> list[Note]:
    """Broken or struck chords for a plucked instrument, around the MIDI pitch `centre`."""
    pattern = COMPING[rng.integers(len(COMPING))]
    strum = float(rng.uniform(0.0, 0.02))
    notes = []
    for bar in range(ground.bars):
        chord = ground.harmony.voicing(bar, centre)
        for onset, member in pattern:
            chosen = chord if member is None else (chord[member % len(chord)],)
            for order, pitch in enumerate(chosen):
                start = ground.seconds(bar * BEATS_PER_BAR + onset) + order * strum
                notes.append(Note(start, 1.5, pitch, rng.uniform(0.6, 1)))
    return notes


def pad_part(ground: Ground, centre: float) -> list[list[Note]]:
    """An organ point: a triad of the key around the MIDI pitch `centre`, held throughout, one line for each voice.

    Within a tenth of a second it resembles a singer's held vowel; only a longer context shows that it never moves.
    """
    degrees = (ground.harmony.degree(centre), ground.harmony.degree(centre) + 2, ground.harmony.degree(centre) + 4)
    return [[ground.note(0, ground.bars * BEATS_PER_BAR, ground.harmony.pitch(degree), 1.0)] for degree in degrees]

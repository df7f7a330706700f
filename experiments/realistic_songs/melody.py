"""The sung melody: phrases of two bars that return as verses and choruses do."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .composer import Note
from .plan import Plan, Section, SectionName

CELLS = ((1.0,), (0.5, 0.5), (1.5, 0.5), (0.5, 1.0, 0.5), (0.75, 0.25), (0.75, 0.75, 0.5), (0.25, 0.25, 0.5))
LONG_CELLS = ((2.0,), (1.0, 1.0), (1.5, 0.5), (0.5, 1.5), (3.0,))
RAP_CELLS = ((0.25, 0.25, 0.25, 0.25), (0.5, 0.25, 0.25), (0.25, 0.25, 0.5), (0.5, 0.5), (0.25, 0.5, 0.25))


@dataclass(frozen=True)
class SungPhrase:
    """Notes sung in one breath.

    Attributes:
        section: what it belongs to.
        line: which line of the section's words it sings; lines of the same name share words.
        notes: in order, without overlaps.
        harmony: the same notes in the scale's third above, as backing singers sing them.
        spoken: rapped.
    """

    section: Section
    line: str
    notes: tuple[Note, ...]
    harmony: tuple[Note, ...]
    spoken: bool


@dataclass(frozen=True)
class _Tune:
    """The rhythm and the steps of a phrase, to be sung on any chord."""

    pickup: float
    rhythm: tuple[float, ...]
    steps: tuple[int, ...]


def sung_part(rng: np.random.Generator, plan: Plan, centre: float) -> list[SungPhrase]:
    """The phrases of all sung sections, around the MIDI pitch `centre`; a chorus lies higher."""
    raps = bool(rng.random() < plan.style.rap)
    tunes: dict[tuple[SectionName, int], _Tune] = {}
    phrases: list[SungPhrase] = []
    beats = 2 * plan.style.beats
    for section in plan.sections:
        if not section.sung:
            continue
        spoken = raps and section.name == "verse"
        for number in range(section.bars // 2):
            which = (0, 0, 1, 0)[number % 4] if section.name != "bridge" else number % 2
            tune = tunes.setdefault((section.name, which), _draw_tune(rng, section, beats, spoken))
            height = centre + (4 if section.name == "chorus" else 0) - (1 if spoken else 0)
            start = (section.first + 2 * number) * plan.style.beats + tune.pickup
            notes, harmony = _place(rng, plan, tune, start, height)
            # A verse has new words for every line; a chorus comes back with the same.
            line = f"{section.name} {number % 2 if section.name == 'chorus' else (section.first, number)}"
            phrases.append(SungPhrase(section, line, notes, harmony, spoken))
    return phrases


def _draw_tune(rng: np.random.Generator, section: Section, beats: int, spoken: bool) -> _Tune:
    pickup = 0.0 if spoken else float(rng.choice([0.0, 0.5, 0.5, 1.0]))
    sung = beats - pickup - (0.5 if spoken else float(rng.choice([1.0, 1.5, 2.0, 2.5])))
    cells: Sequence[tuple[float, ...]] = CELLS
    if spoken:
        cells = RAP_CELLS
    elif section.name in ("chorus", "bridge") and rng.random() < 0.5:
        cells = LONG_CELLS
    last = 0.5 if spoken else float(rng.choice([1.0, 1.5, 2.0]))
    rhythm: list[float] = []
    while sum(rhythm) < sung - last:
        rhythm += cells[int(rng.integers(len(cells)))]
    while len(rhythm) > 1 and sum(rhythm) > sung - 0.5:
        rhythm.pop()
    rhythm.append(max(sung - sum(rhythm), 0.5))
    repeats = float(rng.uniform(0.1, 0.5))  # tunes differ in how often they stay on a note
    steps = [0 if rng.random() < repeats else int(rng.choice([-2, -1, -1, 1, 1, 2, 3, -3])) for _ in rhythm]
    return _Tune(pickup, tuple(rhythm), tuple(steps))


def _place(
    rng: np.random.Generator, plan: Plan, tune: _Tune, start: float, height: float
) -> tuple[tuple[Note, ...], tuple[Note, ...]]:
    """Sing a tune on the chords of a place: accented notes move to the nearest tone of the chord."""
    harmony = plan.harmony
    degree = harmony.degree(height)
    notes: list[Note] = []
    thirds: list[Note] = []
    beat = start
    for length, step in zip(tune.rhythm, tune.steps, strict=True):
        degree += step
        if abs(harmony.pitch(degree) - height) > 7:
            degree = harmony.degree(height)
        bar = plan.bar(beat)
        if beat % 1 == 0 or length >= 1.5:
            degree = min((degree, degree + 1, degree - 1), key=lambda d: not harmony.is_chord_tone(bar, d))
        force = (0.65 + 0.3 * plan.section(bar).intensity) * rng.uniform(0.8, 1.0) * (1.0 if beat % 2 < 1 else 0.92)
        shorter = 0.03 if length <= 1 else 0.1
        notes.append(plan.note(beat, length - shorter, harmony.pitch(degree), float(force)))
        thirds.append(plan.note(beat, length - shorter, harmony.pitch(degree + 2), float(force)))
        beat += length
    return tuple(notes), tuple(thirds)

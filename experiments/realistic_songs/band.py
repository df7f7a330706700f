"""What the band plays: drums with fills and ghost notes, bass, comping, held chords and solos."""

from collections.abc import Sequence

import numpy as np

from .composer import Hit, Note
from .plan import Plan, Section
from .styles import BassLine, Comping, Groove, Player

FORCE = {"X": 1.0, "x": 0.65, "o": 0.28}
FILLS: tuple[Groove, ...] = (
    {"snare": "........xoxoXxXX"},
    {
        "snare": "........Xx......",
        "tom_high": "..........xx....",
        "tom_mid": "............xx..",
        "tom_low": "..............XX",
    },
    {
        "tom_high": "....x.x.........",
        "tom_mid": "........x.x.....",
        "tom_low": "............x.x.",
        "kick": "X...x...x...x...",
    },
    {"snare": "............XXXX"},
    {"snare": "........X..X..X.", "kick": "........x..x..x.", "crash2": "..............X."},
)


def drum_part(rng: np.random.Generator, plan: Plan) -> list[Hit]:
    """A groove for each section, crashes where sections begin, fills where they end."""
    style = plan.style
    if not style.grooves:
        return []
    loose = 0.0 if style.machine else float(rng.uniform(0.002, 0.007))
    hits: list[Hit] = []
    for section in plan.sections:
        groove = _groove(style.grooves, section)
        fill = FILLS[int(rng.integers(len(FILLS)))] if section.intensity > 0.25 else {}
        for bar in range(section.first, section.first + section.bars):
            last = bar == section.first + section.bars - 1
            strokes = _bar(rng, groove, section, fill if last and not style.machine else {}, 4 * style.beats)
            if bar == section.first and section.intensity > 0.5:
                strokes["crash"] = "X" + "." * (4 * style.beats - 1)
            for drum, pattern in strokes.items():
                for step, stroke in enumerate(pattern):
                    if stroke == ".":
                        continue
                    start = plan.seconds(bar * style.beats + step / 4) + loose * rng.standard_normal()
                    force = FORCE[stroke] * (0.5 + 0.5 * section.intensity) * rng.uniform(0.85, 1.0)
                    hits.append(Hit(drum, max(start, 0.0), float(force)))
    return hits


def _groove(grooves: Sequence[Groove], section: Section) -> Groove:
    if section.name == "break":
        return {drum: pattern for drum, pattern in grooves[0].items() if drum not in ("snare", "clap")}
    return grooves[min(int(section.intensity * len(grooves)), len(grooves) - 1)]


def _bar(rng: np.random.Generator, groove: Groove, section: Section, fill: Groove, steps: int) -> Groove:
    """One bar of a groove, now and then varied; a fill replaces its second half."""
    bar = {drum: pattern[:steps] for drum, pattern in groove.items()}
    if section.name == "intro" and section.intensity < 0.3:
        bar = {drum: pattern for drum, pattern in bar.items() if drum in ("hat", "shaker", "ride", "tom_low")}
    if "kick" in bar and rng.random() < 0.2:
        at = int(rng.integers(steps))
        bar["kick"] = bar["kick"][:at] + "x" + bar["kick"][at + 1 :]
    for pattern in fill.values():
        begins = next((step for step, stroke in enumerate(pattern) if stroke != "."), steps)
        half = min(begins, steps // 2)
        bar = {name: kept[:half] + "." * (steps - half) if name != "kick" else kept for name, kept in bar.items()}
    for drum, pattern in fill.items():
        kept = bar.get(drum, "." * steps)
        new = pattern[len(pattern) - steps :]
        bar[drum] = "".join(n if n != "." else k for n, k in zip(new, kept, strict=True))
    return bar


def bass_part(rng: np.random.Generator, plan: Plan) -> list[Note]:
    """A line for each kind of section, between B0 (23) and about A3 (57), without overlaps."""
    style = plan.style
    lines = {section.name: _choose(rng, style.bass_lines, section.intensity) for section in plan.sections}
    lowest = int(rng.choice([23, 28, 28, 31]))
    loose = 0.0 if style.machine else 0.005
    notes: list[Note] = []
    for bar, degree in enumerate(plan.harmony.roots):
        section = plan.section(bar)
        if section.name == "intro" and section.intensity < 0.3:
            continue
        pitch = plan.harmony.pitch
        root = lowest + (pitch(degree) - lowest) % 12
        following = plan.harmony.roots[(bar + 1) % plan.bars]
        step = lowest + (pitch(following) - lowest) % 12 + int(rng.choice([-1, 1, 2]))
        members = {
            0: root,
            1: root + pitch(degree + 4) - pitch(degree),
            2: root + 12,
            3: root + pitch(degree + 2) - pitch(degree),
            -1: step,
        }
        for onset, beats, member in lines[section.name]:
            if onset < style.beats:
                force = (0.5 + 0.45 * section.intensity) * rng.uniform(0.85, 1.0)
                note = plan.note(bar * style.beats + onset, beats, members[member], float(force))
                notes.append(_loosen(rng, note, loose))
    return notes


def comping_part(rng: np.random.Generator, plan: Plan, player: Player, centre: float) -> list[Note]:
    """Chords struck, strummed or broken, for the sections the player takes part in."""
    style = plan.style
    pattern = player.patterns[int(rng.integers(len(player.patterns)))]
    other: Comping = player.patterns[int(rng.integers(len(player.patterns)))]
    enters = float(rng.choice([0.0, 0.0, 0.35, 0.55, 0.75]))
    plucked = player.kind in ("acoustic guitar", "clean guitar", "distorted guitar")
    strum = float(rng.uniform(0.006, 0.02)) if plucked else 0.0
    loose = 0.0 if style.machine else 0.006
    notes: list[Note] = []
    for bar in range(plan.bars):
        section = plan.section(bar)
        if section.intensity < enters:
            continue
        if player.kind == "distorted guitar":
            root = 40 + (plan.harmony.pitch(plan.harmony.roots[bar]) - 40) % 12
            chord: tuple[int, ...] = (root, root + 7, root + 12)
        else:
            chord = plan.harmony.voicing(bar, centre)
        for number, (onset, beats, member) in enumerate(other if section.name == "chorus" else pattern):
            if onset >= style.beats:
                continue
            force = (0.38 + 0.55 * section.intensity) * rng.uniform(0.8, 1.0) * (1.0 if onset % 1 == 0 else 0.88)
            chosen = chord if member is None else (chord[member % len(chord)],)
            if plucked and member is None and number % 2:
                chosen = chosen[::-1]
            for order, pitch in enumerate(chosen):
                note = plan.note(bar * style.beats + onset, beats, pitch, float(force))
                note = Note(note.start + order * strum, note.length, note.pitch, note.velocity)
                notes.append(_loosen(rng, note, loose))
    return notes


def held_part(rng: np.random.Generator, plan: Plan, centre: float) -> list[Note]:
    """Chords held for a bar, with a tone of two neighbouring chords tied over."""
    enters = float(rng.choice([0.0, 0.3, 0.55]))
    open_notes: dict[int, int] = {}
    notes: list[Note] = []

    def close(pitch: int, bar: int) -> None:
        first = open_notes.pop(pitch)
        force = 0.35 + 0.6 * plan.section(first).intensity
        notes.append(plan.note(first * plan.style.beats, (bar - first) * plan.style.beats - 0.05, pitch, force))

    for bar in range(plan.bars):
        silent = plan.section(bar).intensity < enters
        chord = () if silent else plan.harmony.voicing(bar, centre)
        for pitch in [pitch for pitch in open_notes if pitch not in chord]:
            close(pitch, bar)
        for pitch in chord:
            open_notes.setdefault(pitch, bar)
    for pitch in list(open_notes):
        close(pitch, plan.bars)
    return sorted(notes, key=lambda note: (note.start, note.pitch))


def solo_part(rng: np.random.Generator, plan: Plan, centre: float, fills: bool) -> list[Note]:
    """Lines of a solo instrument in sections without a singer; with `fills`, also at the end of sung phrases."""
    cells = ((0.5, 0.5), (1.0,), (0.25, 0.25, 0.5), (1.5, 0.5), (0.75, 0.25), (2.0,), (0.5, 0.25, 0.25))
    beats = plan.style.beats
    notes: list[Note] = []
    degree = plan.harmony.degree(centre)
    for bar in range(plan.bars):
        section = plan.section(bar)
        answers = fills and section.sung and bar % 4 == 3
        if section.sung and not answers:
            continue
        beat = bar * beats + (beats / 2 if answers else 0.0)
        while beat < (bar + 1) * beats:
            if rng.random() < 0.15:
                beat += 0.5
                continue
            for length in cells[int(rng.integers(len(cells)))]:
                if beat >= (bar + 1) * beats:
                    break
                degree += int(rng.choice([-3, -2, -1, -1, 1, 1, 2, 3]))
                if abs(plan.harmony.pitch(degree) - centre) > 10:
                    degree = plan.harmony.degree(centre)
                while beat % 1 == 0 and not plan.harmony.is_chord_tone(bar, degree):
                    degree += 1
                force = rng.uniform(0.65, 1.0)
                notes.append(plan.note(beat, 0.95 * length, plan.harmony.pitch(degree), float(force)))
                beat += length
    return notes


def _choose(rng: np.random.Generator, choices: Sequence[BassLine], intensity: float) -> BassLine:
    """A choice of a list that is ordered from quiet to loud, by chance one beside the one meant."""
    meant = min(int(intensity * len(choices)), len(choices) - 1)
    return choices[int(np.clip(meant + rng.integers(-1, 2), 0, len(choices) - 1))]


def _loosen(rng: np.random.Generator, note: Note, loose: float) -> Note:
    """Move a note by a player's inaccuracy (seconds)."""
    return Note(max(0.0, note.start + loose * float(rng.standard_normal())), note.length, note.pitch, note.velocity)

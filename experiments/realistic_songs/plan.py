"""The plan of a song: style, tempo, key and form, and where each beat falls."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from .composer import MODES, PROGRESSIONS, Harmony, Note
from .styles import STYLES, Style

SectionName = Literal["intro", "verse", "chorus", "bridge", "solo", "break"]

# Section, bars, intensity (0 to 1), whether it is sung. A song is a stretch of one of these forms.
FORMS: tuple[tuple[tuple[SectionName, int, float, bool], ...], ...] = (
    (("intro", 4, 0.4, False), ("verse", 8, 0.5, True), ("chorus", 8, 0.9, True), ("verse", 8, 0.6, True)),
    (("verse", 8, 0.4, True), ("chorus", 8, 0.9, True), ("solo", 4, 0.8, False), ("chorus", 8, 1.0, True)),
    (("intro", 2, 0.6, False), ("verse", 4, 0.4, True), ("chorus", 4, 0.9, True), ("break", 2, 0.3, False),
     ("verse", 4, 0.6, True), ("chorus", 8, 1.0, True)),
    (("chorus", 8, 0.9, True), ("bridge", 4, 0.3, True), ("solo", 4, 0.9, False), ("chorus", 8, 1.0, True)),
    (("intro", 4, 0.2, False), ("verse", 8, 0.3, True), ("bridge", 4, 0.6, True), ("chorus", 8, 1.0, True)),
    (("solo", 4, 0.7, False), ("verse", 8, 0.6, True), ("break", 2, 0.2, False), ("chorus", 8, 0.9, True)),
    (("verse", 16, 0.5, True), ("chorus", 16, 0.8, True)),
)  # fmt: skip


@dataclass(frozen=True)
class Section:
    """A stretch of bars that belong together: the first, their number, how full it sounds, whether it is sung."""

    name: SectionName
    first: int
    bars: int
    intensity: float
    sung: bool


@dataclass(frozen=True)
class Plan:
    """What all players share."""

    style_name: str
    tempo: float
    swing: float
    harmony: Harmony
    sections: tuple[Section, ...]

    @property
    def style(self) -> Style:
        """The song's style."""
        return STYLES[self.style_name]

    @property
    def bars(self) -> int:
        """Number of bars."""
        return self.sections[-1].first + self.sections[-1].bars

    def section(self, bar: int) -> Section:
        """The section that a bar belongs to."""
        return next(section for section in reversed(self.sections) if section.first <= bar)

    def seconds(self, beat: float) -> float:
        """When a beat falls; with swing, off-beats come late and their neighbours move along."""
        whole, part = math.floor(beat), beat % 1
        half = 0.5 + self.swing
        moved = part * half / 0.5 if part < 0.5 else half + (part - 0.5) * (1 - half) / 0.5
        return (whole + moved) * 60 / self.tempo

    def bar(self, beat: float) -> int:
        """The bar a beat lies in; past the end, the last one."""
        return min(int(beat // self.style.beats), self.bars - 1)

    def note(self, beat: float, beats: float, pitch: float, velocity: float) -> Note:
        """A note placed in beats."""
        start = self.seconds(beat)
        return Note(start, max(self.seconds(beat + beats) - start, 0.03), pitch, velocity)


def draw_plan(rng: np.random.Generator, seconds: float, style_name: str | None = None) -> Plan:
    """Draw a song of a length; sections that do not fit are cut."""
    name = style_name or str(rng.choice(list(STYLES)))
    style = STYLES[name]
    tempo = float(rng.uniform(*style.tempo))
    bars = math.ceil(seconds * tempo / 60 / style.beats)
    form = FORMS[int(rng.integers(len(FORMS)))]
    sections: list[Section] = []
    first = 0
    while first < bars:
        for section, length, intensity, sung in form:
            if first < bars:
                sections.append(Section(section, first, min(length, bars - first), intensity, sung))
                first += length
    swing = float(rng.choice(style.swings))
    return Plan(name, tempo, swing, _draw_harmony(rng, style, sections, bars), tuple(sections))


def _draw_harmony(rng: np.random.Generator, style: Style, sections: list[Section], bars: int) -> Harmony:
    """A key, and a progression for each kind of section."""
    mode = str(rng.choice(style.modes))
    choices = PROGRESSIONS[mode]
    named = {name: choices[int(rng.integers(len(choices)))] for name in sorted({s.name for s in sections})}
    roots = [0] * bars
    for section in sections:
        progression = named[section.name]
        for bar in range(section.bars):
            roots[section.first + bar] = progression[bar % len(progression)]
    return Harmony(int(rng.integers(12)), MODES[mode], tuple(roots), bool(rng.random() < style.sevenths))

"""Who sings: a lead from one of several sources, doubles, a second voice, a choir; all dry, at 44.1 kHz."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .composer import RATE, Note, Syllable, sing_formants
from .lyrics import kana, phrase
from .melody import SungPhrase, sung_part
from .plan import Plan
from .singing import Frames, Singer, SungSyllable, analyse, draw_singer, retune, settle, sing, syllables
from .sinsy import sing_sinsy
from .sources import FORMANT_POOLS, Pool, Voice, voices
from .speech import speak

Signal = NDArray[np.float64]

FORMANT_SHARE = 0.08
_CONSONANTS = ("s", "sh", "f", "t", "k", "p", "m", "n", "l")
_WEIGHTS = {"hibari": 2.0, "espeak": 0.4, "sinsy": 1.5}


@dataclass(frozen=True)
class Vocals:
    """Everything sung in a song.

    Attributes:
        lead: mono.
        backing: stereo (2, N): doubles, second voice, choir.
        phrases: the melody that the lead sings.
        voice: name of the lead's source.
        backing_parts: names of what the backing has.
    """

    lead: Signal
    backing: Signal
    phrases: list[SungPhrase]
    voice: str
    backing_parts: tuple[str, ...]


def draw_vocals(rng: np.random.Generator, plan: Plan, pool: Pool, samples: int, seed: int) -> Vocals:
    """Cast the singers of a song, and let them sing."""
    if pool in FORMANT_POOLS and rng.random() < FORMANT_SHARE:
        return _formant_vocals(rng, plan, samples)
    cast = voices(pool)
    weights = np.array([_WEIGHTS.get(voice.engine, 1.0) for voice in cast])
    lead_voice, second_voice = (cast[int(i)] for i in rng.choice(len(cast), size=2, p=weights / weights.sum()))
    tract = float(np.clip(rng.normal(1.0, 0.09), 0.82, 1.22))
    centre = lead_voice.centre + 14 * np.log2(tract) + rng.uniform(-2, 4)
    phrases = [p for p in sung_part(rng, plan, centre) if p.notes[0].start < samples / RATE - 1.0]
    lead = _Chorister(rng, lead_voice, draw_singer(rng, tract), phrases, seed)
    backing = np.zeros((2, samples))
    parts: list[str] = []
    main = lead.perform(rng, phrases, samples)
    choruses = [p for p in phrases if p.section.name == "chorus"]
    if rng.random() < 0.45:
        parts.append("doubles")
        doubled = choruses if rng.random() < 0.6 else phrases
        for side in (-1.0, 1.0):
            double = lead.perform(rng, doubled, samples, late=0.02)
            backing += _pan(double, side * float(rng.uniform(0.4, 0.9)), float(rng.uniform(0.3, 0.5)))
    if choruses and rng.random() < 0.45:
        parts.append("second voice")
        other = lead if rng.random() < 0.5 else None
        if other is None:
            size = float(np.clip(rng.normal(1.0, 0.09), 0.82, 1.22))
            other = _Chorister(rng, second_voice, draw_singer(rng, size), choruses, seed + 1)
        octave = 12 * round((other.comfort - centre) / 12)
        sung = [_moved(p, p.harmony, octave) for p in choruses]
        backing += _pan(other.perform(rng, sung, samples, late=0.02), float(rng.uniform(-0.7, 0.7)), 0.6)
    if rng.random() < 0.2:
        parts.append("choir")
        backing += _choir(rng, plan, lead, samples)
    return Vocals(main, backing, phrases, lead_voice.name, tuple(parts))


class _Chorister:
    """A singer who knows the words: every line is spoken and analysed once."""

    def __init__(
        self, rng: np.random.Generator, voice: Voice, singer: Singer, phrases: Sequence[SungPhrase], seed: int
    ) -> None:
        self.voice, self.singer = voice, singer
        self.comfort = voice.centre + 14 * np.log2(singer.tract)
        longest: dict[str, int] = {}
        for sung in phrases:
            slurs = 0 if sung.spoken else int(rng.integers(0, 2))
            longest[sung.line] = max(longest.get(sung.line, 0), len(sung.notes) - slurs, 1)
        self.words: dict[str, list[str]] = {}
        self.lines: dict[str, tuple[Frames, list[SungSyllable]]] = {}
        if voice.engine == "sinsy":
            self.words = {line: kana(rng, count + 1) for line, count in longest.items()}
            return
        texts = [phrase(rng, voice.language, count) for count in longest.values()]
        for line, speech in zip(longest, speak(voice, texts, seed), strict=True):
            frames = analyse(speech)
            found = settle(frames, syllables(speech.phones))
            if found:
                self.lines[line] = frames, found

    def perform(
        self, rng: np.random.Generator, phrases: Sequence[SungPhrase], samples: int, late: float = 0.0
    ) -> Signal:
        """Sing phrases to mono (samples,), each up to `late` seconds early or late."""
        out = np.zeros(samples)
        for sung in phrases:
            shift = float(rng.uniform(-late, late))
            notes = [Note(n.start + shift, n.length, n.pitch, n.velocity) for n in sung.notes]
            if self.voice.engine == "sinsy":
                audio, start = self._sing_sinsy(rng, sung.line, notes)
            elif sung.line in self.lines:
                audio, start = sing(rng, *self.lines[sung.line], notes, self.singer, sung.spoken)
            else:
                continue
            _add(out, audio, start)
        return out

    def _sing_sinsy(self, rng: np.random.Generator, line: str, notes: Sequence[Note]) -> tuple[Signal, float]:
        words = self.words[line]
        words = [*words, *["あ"] * (len(notes) - len(words))][: len(notes)]
        middle = float(np.mean([note.pitch for note in notes]))
        speech, start = sing_sinsy(notes, words, 12 * round((67 - middle) / 12))
        return retune(rng, analyse(speech), notes, self.singer, start)


def _choir(rng: np.random.Generator, plan: Plan, lead: _Chorister, samples: int) -> Signal:
    """Held vowels on the chords of the fuller sections, some singers a tone."""
    out = np.zeros((2, samples))
    lines = list(lead.lines.values())
    if not lines:
        return out
    frames, found = lines[int(rng.integers(len(lines)))]
    vowel = max(found, key=lambda s: s.vowel_end - s.vowel)
    held = [replace(vowel, onset=vowel.vowel, end=vowel.vowel_end)]
    sections = [s for s in plan.sections if s.name in ("chorus", "bridge", "solo")]
    for member in range(6):
        size = lead.singer.tract * float(rng.uniform(0.9, 1.12))
        singer = draw_singer(rng, size)
        for section in sections:
            for bar in range(section.first, section.first + section.bars):
                start = plan.seconds(bar * plan.style.beats) + float(rng.uniform(0, 0.04))
                if start > samples / RATE - 0.5:
                    break
                chord = plan.harmony.voicing(bar, lead.comfort + 3)
                length = plan.seconds((bar + 1) * plan.style.beats) - start
                note = Note(start, length, chord[member % len(chord)], 0.6)
                audio, begins = sing(rng, frames, held, [note], singer)
                rise = min(int(0.15 * RATE), len(audio) // 3)
                audio[:rise] *= np.linspace(0, 1, rise)
                audio[len(audio) - rise :] *= np.linspace(1, 0, rise)
                mono = np.zeros(samples)
                _add(mono, audio, begins)
                out += _pan(mono, float(rng.uniform(-0.9, 0.9)), 0.18)
    return out


def _formant_vocals(rng: np.random.Generator, plan: Plan, samples: int) -> Vocals:
    """The formant voice of the embedded songs."""
    tract = float(rng.uniform(0.95, 1.25))
    centre = 55 + 40 * (tract - 0.95) + float(rng.uniform(-2, 2))
    phrases = [p for p in sung_part(rng, plan, centre) if p.notes[0].start < samples / RATE - 1.0]
    sung: list[Syllable] = []
    for phrase_ in phrases:
        for note in phrase_.notes:
            sung.append(Syllable(note, str(rng.choice(list("aeiou"))), str(rng.choice(_CONSONANTS))))
    lead = np.asarray(sing_formants(rng, sung, tract, samples)) if sung else np.zeros(samples)
    return Vocals(lead, np.zeros((2, samples)), phrases, "formant", ())


def _moved(sung: SungPhrase, notes: Sequence[Note], semitones: int) -> SungPhrase:
    """A phrase with other notes, transposed."""
    moved = tuple(Note(n.start, n.length, n.pitch + semitones, n.velocity) for n in notes)
    return SungPhrase(sung.section, sung.line, moved, moved, sung.spoken)


def _add(out: Signal, audio: Signal, start: float) -> None:
    """Add a phrase at a time in seconds; what overhangs is cut."""
    first = round(start * RATE)
    audio = audio[max(0, -first) :]
    first = max(0, first)
    length = min(len(audio), len(out) - first)
    if length > 0:
        out[first : first + length] += audio[:length]


def _pan(mono: Signal, position: float, gain: float) -> Signal:
    """Mono to stereo at a place."""
    angle = (position + 1) * np.pi / 4
    return gain * 2**0.5 * np.stack([np.cos(angle) * mono, np.sin(angle) * mono])

"""Songs by Sinsy's Japanese singer, a hidden Markov model trained on singing (package pysinsy).

Its pitch strays from the score by up to two semitones: the caller replaces it.
"""

import functools
import importlib.util
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from xml.sax.saxutils import escape

import numpy as np

from .composer import Note
from .speech import Speech

_DIVISIONS = 480
_TEMPO = 120  # times are given in seconds: the written tempo is any
_NAMES = tuple((name[0], name.count("#")) for name in ["C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B"])


def sing_sinsy(notes: Sequence[Note], words: Sequence[str], transpose: int) -> tuple[Speech, float]:
    """Sing one phrase.

    Args:
        notes: the melody.
        words: one syllable in kana for each note.
        transpose: semitones added for the singer, whose range is about A3 to E5.

    Returns:
        The phrase as speech without the times of its sounds, and the time in seconds at which it begins.
    """
    lead = 0.5
    start = notes[0].start - lead
    items: list[tuple[int, int | None, str]] = [(_ticks(lead), None, "")]
    for index, (note, word) in enumerate(zip(notes, words, strict=True)):
        following = notes[index + 1].start if index + 1 < len(notes) else note.end
        rest = following - note.end
        length = note.length + (rest if rest < 0.15 else 0.0)
        items.append((_ticks(length), round(note.pitch) + transpose, word))
        if rest >= 0.15:
            items.append((_ticks(rest), None, ""))
    filled = sum(ticks for ticks, _, _ in items)
    beats = filled // _DIVISIONS + 2
    items.append((beats * _DIVISIONS - filled, None, ""))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "song.xml")
        path.write_text(_music_xml(items, beats), encoding="utf-8")
        audio, rate = _synthesizer()(str(path))
    return Speech(np.asarray(audio, dtype=np.float64), rate, ()), start


@functools.cache
def _synthesizer() -> Callable[[str], tuple[Sequence[float], int]]:
    if importlib.util.find_spec("pkg_resources") is None:
        # pysinsy asks this module for the path of its files; setuptools 81 and newer come without it.
        stand_in = ModuleType("pkg_resources")
        stand_in.resource_filename = _resource  # type: ignore[attr-defined]
        sys.modules["pkg_resources"] = stand_in
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # older ones warn
        import pysinsy
    return pysinsy.synthesize


def _resource(package: str, name: str) -> str:
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return str(Path(spec.origin).parent / name)


def _ticks(seconds: float) -> int:
    return max(1, round(seconds * _TEMPO / 60 * _DIVISIONS))


def _music_xml(items: Sequence[tuple[int, int | None, str]], beats: int) -> str:
    """A score of one long measure."""
    lines = []
    for ticks, pitch, word in items:
        if pitch is None:
            lines.append(f"<note><rest/><duration>{ticks}</duration></note>")
            continue
        step, alter = _NAMES[pitch % 12]
        lines.append(
            f"<note><pitch><step>{step}</step><alter>{alter}</alter><octave>{pitch // 12 - 1}</octave></pitch>"
            f"<duration>{ticks}</duration><lyric><text>{escape(word)}</text></lyric></note>"
        )
    return (
        '<?xml version="1.0" encoding="UTF-8"?><score-partwise version="2.0"><part-list><score-part id="P1">'
        '<part-name>voice</part-name></score-part></part-list><part id="P1"><measure number="1"><attributes>'
        f"<divisions>{_DIVISIONS}</divisions><key><fifths>0</fifths></key><time><beats>{beats}</beats>"
        "<beat-type>4</beat-type></time><clef><sign>G</sign><line>2</line></clef></attributes>"
        f'<direction><sound tempo="{_TEMPO}"/></direction>{"".join(lines)}</measure></part></score-partwise>'
    )

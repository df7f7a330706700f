"""Spoken phrases with the times of their sounds, from festival, flite, espeak-ng and hibari."""

import functools
import itertools
import re
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from .sources import Voice, program

Signal = NDArray[np.float64]

_SCHEME = """
(define (say text name)
  (let ((utt (utt.synth (eval (list 'Utterance 'Text text)))))
    (utt.save.wave utt (string-append name ".wav") 'riff)
    (let ((out (fopen (string-append name ".seg") "w")))
      (mapcar (lambda (s) (format out "%s %s %f\\n" (item.name s) (item.feat s "ph_vc") (item.feat s "segment_end")))
              (utt.relation.items utt 'Segment))
      (fclose out))))
"""
_FLITE_VOWELS = frozenset(
    ("aa", "ae", "ah", "ao", "aw", "ax", "ay", "eh", "er", "ey", "ih", "iy", "ow", "oy", "uh", "uw")
)
_SILENCES = frozenset(("pau", "#", "sil", "h#", "_"))
_ENGLISH_REFERENCE = "slt"


@dataclass(frozen=True)
class Phone:
    """A sound of a spoken phrase: whether it is a vowel, and its start and end in seconds."""

    vowel: bool
    start: float
    end: float


@dataclass(frozen=True)
class Speech:
    """A spoken phrase: mono audio, its sample rate, and its sounds in order, silence left out."""

    audio: Signal
    rate: int
    phones: tuple[Phone, ...]


def speak(voice: Voice, texts: Sequence[str], seed: int) -> list[Speech]:
    """Say each text.

    festival and flite tell when each sound begins. hibari and espeak-ng do not: their phrases are aligned in time
    with the same words said by flite.
    """
    if voice.engine == "festival":
        return _festival(voice.speaker, texts)
    if voice.engine == "flite":
        return [_flite(voice.speaker, text) for text in texts]
    if voice.engine == "hibari":
        said = [_hibari(text, seed) for text in texts]
    else:
        said = [_espeak(voice.speaker, text) for text in texts]
    references = [_flite(_ENGLISH_REFERENCE, text) for text in texts]
    return [_align(audio, rate, reference) for (audio, rate), reference in zip(said, references, strict=True)]


def _festival(speaker: str, texts: Sequence[str]) -> list[Speech]:
    with tempfile.TemporaryDirectory() as folder:
        lines = [f'(say "{text}" "{index}")' for index, text in enumerate(texts)]
        script = Path(folder, "say.scm")
        script.write_text("\n".join([_SCHEME, f"(voice_{speaker})", *lines]), encoding="utf-8")
        subprocess.run(
            [program("festival"), "-b", script.name], cwd=folder, check=True, capture_output=True, timeout=300
        )
        return [_read_festival(Path(folder), str(index)) for index in range(len(texts))]


def _read_festival(folder: Path, name: str) -> Speech:
    audio, rate = soundfile.read(folder / f"{name}.wav", dtype="float64")
    rows = []
    for line in (folder / f"{name}.seg").read_text(encoding="latin-1").splitlines():
        sound, kind, end = line.rsplit(" ", 2)
        rows.append((sound, kind == "+", float(end)))
    return Speech(audio, rate, _phones(rows))


def _flite(speaker: str, text: str) -> Speech:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "say.wav")
        said = subprocess.run(
            [program("flite"), "-voice", speaker, "-psdur", "-t", text, "-o", str(path)],
            check=True,
            capture_output=True,
            text=True,
            timeout=300,
        )
        audio, rate = soundfile.read(path, dtype="float64")
    found = re.findall(r"(\S+):([\d.]+)", said.stdout)
    return Speech(audio, rate, _phones([(sound, sound in _FLITE_VOWELS, float(end)) for sound, end in found]))


def _espeak(speaker: str, text: str) -> tuple[Signal, int]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "say.wav")
        command = [program("espeak-ng"), "-v", speaker, "-s", "150", "-w", str(path), text]
        subprocess.run(command, check=True, capture_output=True, timeout=300)
        return soundfile.read(path, dtype="float64")


@functools.cache
def _hibari_model() -> Callable[..., Signal]:
    from hibari import Hibari  # loads onnxruntime

    return Hibari()


def _hibari(text: str, seed: int) -> tuple[Signal, int]:
    return np.asarray(_hibari_model()(text, seed=seed), dtype=np.float64), 24000


def _phones(rows: Sequence[tuple[str, bool, float]]) -> tuple[Phone, ...]:
    """Sounds from (name, is a vowel, end in seconds)."""
    start = 0.0
    phones = []
    for sound, vowel, end in rows:
        if sound not in _SILENCES and end > start:
            phones.append(Phone(vowel, start, end))
        start = end
    return tuple(phones)


def _align(audio: Signal, rate: int, reference: Speech) -> Speech:
    """Carry the reference's times over to other speech of the same words, by dynamic time warping."""
    hop = 0.01
    ours, theirs = _cepstra(audio, rate, hop), _cepstra(reference.audio, reference.rate, hop)
    distance = np.sqrt(((ours[:, None] - theirs[None]) ** 2).sum(-1))
    path = _warp(distance)
    ours_at, theirs_at = path[:, 0] * hop, path[:, 1] * hop
    # The first frame of ours that meets each frame of theirs.
    times, first = np.unique(theirs_at, return_index=True)
    carried = [
        Phone(p.vowel, float(np.interp(p.start, times, ours_at[first])), float(np.interp(p.end, times, ours_at[first])))
        for p in reference.phones
    ]
    return Speech(audio, rate, tuple(phone for phone in carried if phone.end > phone.start + 0.015))


def _cepstra(audio: Signal, rate: int, hop: float) -> Signal:
    """Normalized cepstra of the spectrum up to 7 kHz, (frames, 14): what was said rather than who says it."""
    step, size = round(hop * rate), round(0.032 * rate)
    padded = np.pad(audio, size // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::step] * np.hanning(size)
    power = np.abs(np.fft.rfft(frames, axis=1)) ** 2
    edges = np.geomspace(150, 7000, 29)
    bands = np.searchsorted(np.fft.rfftfreq(size, 1 / rate), edges)
    energy = np.stack([power[:, a : max(b, a + 1)].mean(1) for a, b in itertools.pairwise(bands)], 1)
    logs = np.log(energy + 1e-5 * energy.max())
    basis = np.cos(np.pi / 28 * np.outer(np.arange(28) + 0.5, np.arange(14)))
    cepstra = logs @ basis
    return (cepstra - cepstra.mean(0)) / (cepstra.std(0) + 1e-9)


def _warp(distance: Signal) -> NDArray[np.int64]:
    """The cheapest monotonic path through a matrix of distances, as rows of (i, j)."""
    rows, columns = distance.shape
    total = np.full((rows + 1, columns + 1), np.inf)
    total[0, 0] = 0
    for i in range(rows):
        for j in range(columns):
            total[i + 1, j + 1] = distance[i, j] + min(total[i, j], total[i, j + 1], total[i + 1, j])
    i, j = rows, columns
    path = []
    while i > 0 and j > 0:
        path.append((i - 1, j - 1))
        steps = {(i - 1, j - 1): total[i - 1, j - 1], (i - 1, j): total[i - 1, j], (i, j - 1): total[i, j - 1]}
        i, j = min(steps, key=lambda cell: steps[cell])
    return np.array(path[::-1])

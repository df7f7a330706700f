"""The parts of the synthesizer: control curves, oscillator, resonators, panning and reverberation.

A signal is a float64 array of samples at `RATE`. Curves that change slowly (pitch, loudness) are computed at
`RATE / HOP` and interpolated, which is a hundred times cheaper.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d
from scipy.signal import butter, iirpeak, lfilter, oaconvolve, sosfilt

from wsa_lightning.composer.score import Note

RATE = 44100
HOP = 100
CONTROL_RATE = RATE / HOP

Signal = NDArray[np.float64]


def curve_length(samples: int) -> int:
    """Number of points of a control curve that covers `samples` samples."""
    return samples // HOP + 2


def to_samples(curve: Signal, samples: int) -> Signal:
    """Interpolate a control curve to `samples` samples."""
    return np.interp(np.arange(samples) / HOP, np.arange(len(curve)), curve)


def smooth(curve: Signal, seconds: float) -> Signal:
    """Round off the corners of a control curve over about `seconds` (twice a moving average)."""
    width = max(1, round(seconds * CONTROL_RATE / 2))
    return np.asarray(uniform_filter1d(uniform_filter1d(curve, width, mode="nearest"), width, mode="nearest"))


def wander(rng: np.random.Generator, points: int, per_second: float) -> Signal:
    """A control curve that drifts at random around 0, standard deviation about 1, `per_second` turns per second."""
    knots = rng.standard_normal(int(points / CONTROL_RATE * per_second) + 3)
    return np.interp(np.arange(points) / CONTROL_RATE * per_second, np.arange(len(knots)), knots)


def held_pitch(notes: Sequence[Note], points: int) -> Signal:
    """MIDI pitch of a monophonic line as a control curve of steps; a rest has the pitch of the note after it."""
    ends = [round(note.end * CONTROL_RATE) for note in notes]
    index = np.searchsorted(ends, np.arange(points), side="right")
    return np.array([note.pitch for note in notes], dtype=np.float64)[np.minimum(index, len(notes) - 1)]


def held_level(spans: Iterable[tuple[float, float, float]], points: int) -> Signal:
    """Control curve that has each span's value from its start to its end (seconds), and 0 elsewhere."""
    level = np.zeros(points)
    for start, end, value in spans:
        level[max(0, round(start * CONTROL_RATE)) : max(0, round(end * CONTROL_RATE))] = value
    return level


def hertz(pitch: Signal) -> Signal:
    """Frequency of MIDI pitches; 69 is A4, 440 Hz."""
    return 440.0 * 2 ** ((pitch - 69) / 12)


def sawtooth(frequency: Signal, phase: float = 0.0) -> Signal:
    """Sawtooth in [-1, 1] with one frequency in Hz per sample, its steps smoothed to reduce aliasing.

    The correction is the two-sample polynomial of Välimäki & Huovilainen, "Antialiasing oscillators in
    subtractive synthesis", IEEE Signal Processing Magazine 24(2), 2007 (polyBLEP).
    """
    step = frequency / RATE
    turns = (np.cumsum(step) + phase) % 1.0
    wave = 2 * turns - 1
    after = np.flatnonzero(turns < step)
    x = turns[after] / step[after]
    wave[after] += (1 - x) ** 2
    before = np.flatnonzero(turns > 1 - step)
    x = (turns[before] - 1) / step[before]
    wave[before] -= (1 + x) ** 2
    return wave


def resonate(signal: Signal, formants: Iterable[tuple[float, float, float]]) -> Signal:
    """Parallel resonators, each given as centre (Hz), bandwidth (Hz) and gain, with alternating signs.

    With alternating signs two neighbours do not cancel between their centres (Klatt, "Software for a
    cascade/parallel formant synthesizer", JASA 67(3), 1980).
    """
    out = np.zeros_like(signal)
    for number, (centre, width, gain) in enumerate(formants):
        b, a = iirpeak(centre, centre / width, fs=RATE)
        out += (-1) ** number * gain * lfilter(b, a, signal)
    return out


def lowpass(signal: Signal, cutoff: float) -> Signal:
    """Second-order Butterworth low-pass at `cutoff` Hz."""
    return np.asarray(sosfilt(butter(2, cutoff, "low", fs=RATE, output="sos"), signal))


def highpass(signal: Signal, cutoff: float) -> Signal:
    """Second-order Butterworth high-pass at `cutoff` Hz."""
    return np.asarray(sosfilt(butter(2, cutoff, "high", fs=RATE, output="sos"), signal))


def add_at(out: Signal, start: int, sound: Signal) -> None:
    """Add a sound to a mono (N,) or stereo (2, N) signal from sample `start`; what lies outside is dropped."""
    skip = max(0, -start)
    length = min(sound.shape[-1] - skip, out.shape[-1] - start - skip)
    if length > 0:
        out[..., start + skip : start + skip + length] += sound[..., skip : skip + length]


def pan(signal: Signal, position: float) -> Signal:
    """Place a mono signal between left (-1) and right (+1) at constant power: (N,) to (2, N)."""
    angle = (position + 1) * np.pi / 4
    return np.stack([np.cos(angle) * signal, np.sin(angle) * signal])


def room(rng: np.random.Generator, decay: float) -> Signal:
    """Stereo impulse response (2, L), energy 1 per channel: noise that falls by 60 dB in `decay` seconds."""
    time = np.arange(round(decay * RATE)) / RATE
    tail = rng.standard_normal((2, len(time))) * 10 ** (-3 * time / decay)
    tail = lowpass(tail, 5000.0)
    delay = np.zeros((2, round(0.012 * RATE)))
    response = np.concatenate([delay, tail], axis=1)
    return np.asarray(response / np.sqrt(np.sum(response**2, axis=1, keepdims=True)))


def reverberate(stereo: Signal, response: Signal, wet: float) -> Signal:
    """Add reverberation of amplitude `wet` to a (2, N) signal; the tail past its end is dropped."""
    send = stereo.sum(axis=0, keepdims=True) / 2**0.5
    return stereo + wet * np.asarray(oaconvolve(send, response, axes=1))[:, : stereo.shape[1]]

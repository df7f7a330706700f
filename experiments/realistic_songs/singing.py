"""Speech that sings: WORLD takes a spoken phrase apart, and puts it together again on a melody.

WORLD (Morise et al., IEICE Transactions E99-D(7), 2016; the package pyworld) describes speech every 5 ms by its
pitch, its spectral envelope and its share of noise. Pitch is replaced by that of the melody, with glides, scoops,
vibrato and the unsteadiness of a singer. The envelope is stretched in time so that vowels last as long as their notes,
and along frequency, which changes the singer's size. Most voices are recorded at 16 kHz: their envelope
is continued to the full band.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyworld
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, uniform_filter1d
from scipy.signal import butter, sosfilt

from .composer import RATE, Note
from .speech import Phone, Speech

Signal = NDArray[np.float64]

FRAME = 0.005
BINS = 1025
_FLOOR = 1e-16


@dataclass(frozen=True)
class Frames:
    """Speech as WORLD describes it, a row each 5 ms.

    Attributes:
        pitch: (T,) Hz, 0 where unvoiced.
        envelope: (T, 1025) natural logarithm of power between 0 Hz and 22.05 kHz.
        noise: (T, 1025) share of noise, 0 to 1.
    """

    pitch: Signal
    envelope: Signal
    noise: Signal


@dataclass(frozen=True)
class SungSyllable:
    """Consonants, a vowel and closing consonants as spans (seconds) of the speech; a long note holds the core."""

    onset: float
    vowel: float
    core: float
    vowel_end: float
    end: float


@dataclass(frozen=True)
class Singer:
    """How somebody sings.

    Attributes:
        tract: factor on the frequencies of the envelope; above 1 is a smaller singer.
        vibrato_rate: in Hz.
        vibrato_depth: in semitones, reached late in long notes.
        glide: seconds that a change of pitch takes.
        scoop: probability of starting a note from below.
        detune: deviation of a note's intonation, in semitones.
        breath: gain of the noise before a phrase; 0 for none.
        brightness: dB an octave added above 1 kHz.
    """

    tract: float
    vibrato_rate: float
    vibrato_depth: float
    glide: float
    scoop: float
    detune: float
    breath: float
    brightness: float


def draw_singer(rng: np.random.Generator, tract: float) -> Singer:
    """A singer of a given size with random habits."""
    return Singer(
        tract=tract,
        vibrato_rate=float(rng.uniform(4.8, 6.6)),
        vibrato_depth=float(rng.choice([0.05, 0.15, 0.25, 0.4, 0.6])),
        glide=float(rng.uniform(0.03, 0.11)),
        scoop=float(rng.uniform(0.0, 0.6)),
        detune=float(rng.uniform(0.02, 0.14)),
        breath=float(rng.choice([0.0, 0.005, 0.01, 0.02])),
        brightness=float(rng.uniform(-1.0, 3.0)),
    )


def analyse(speech: Speech) -> Frames:
    """Describe speech by pitch, envelope and noise, continued to 22.05 kHz."""
    audio = np.ascontiguousarray(speech.audio / (np.abs(speech.audio).max() + 1e-9))
    audio = audio + 1e-5 * np.random.Generator(np.random.PCG64(0)).standard_normal(len(audio))
    pitch, times = pyworld.dio(audio, speech.rate, f0_floor=60.0, f0_ceil=900.0, frame_period=1000 * FRAME)
    pitch = pyworld.stonemask(audio, pitch, times, speech.rate)
    envelope = pyworld.cheaptrick(audio, pitch, times, speech.rate)
    noise = pyworld.d4c(audio, pitch, times, speech.rate)
    logs = np.log(np.maximum(envelope, _FLOOR))
    return Frames(pitch, *_continue_band(logs, noise, speech.rate))


def _continue_band(logs: Signal, noise: Signal, rate: int) -> tuple[Signal, Signal]:
    """Carry the envelope and noise of audio at `rate` over to 1025 bins up to 22.05 kHz.

    Above the recorded band the envelope falls from its level near the end of that band: by 18 dB an octave where the
    sound is voiced, by 8 where it is a hiss.
    """
    known = np.linspace(0, rate / 2, logs.shape[1])
    wanted = np.linspace(0, RATE / 2, BINS)
    low = wanted <= 0.88 * min(rate, RATE) / 2
    edge = wanted[low][-1]
    out = np.empty((len(logs), BINS))
    share = np.empty_like(out)
    for row in range(len(logs)):
        out[row, low] = np.interp(wanted[low], known, logs[row])
        share[row, low] = np.interp(wanted[low], known, noise[row])
    if low.all():
        return out, share
    near = (wanted > 0.85 * edge) & low
    level = out[:, near].mean(1)
    body = np.exp(out[:, wanted < 1500]).mean(1)
    hiss = 1 / (1 + body / np.exp(level))  # near 1 for fricatives
    slope = (18 - 10 * hiss) * np.log(10) / 10
    octaves = np.log2(wanted[~low] / edge)
    out[:, ~low] = level[:, None] - slope[:, None] * octaves[None]
    blend = np.clip((wanted[low] - 0.85 * edge) / (0.15 * edge), 0, 1)
    out[:, low] = (1 - blend) * out[:, low] + blend * np.minimum(out[:, low], level[:, None])
    share[:, ~low] = np.clip(share[:, low][:, -1:] + 0.35 * octaves[None], 0, 1)
    return out, share


def syllables(phones: Sequence[Phone]) -> list[SungSyllable]:
    """Group sounds around their vowels; consonants between two vowels open the second, the last ones close."""
    found: list[SungSyllable] = []
    onset: float | None = None
    for phone in phones:
        if phone.vowel:
            start = phone.start if onset is None else onset
            found.append(SungSyllable(start, phone.start, (phone.start + phone.end) / 2, phone.end, phone.end))
            onset = None
        elif onset is None:
            onset = phone.start
    if found and onset is not None:
        found[-1] = replace(found[-1], end=phones[-1].end)
    return found


def settle(frames: Frames, sounds: Sequence[SungSyllable]) -> list[SungSyllable]:
    """Move each core to where its vowel is loudest and voiced, and cut a vowel where it has faded by 18 dB.

    Speech fades and creaks at the end of a phrase; a singer does not. Vowels that are hardly there are left out.
    """
    power = gaussian_filter1d(np.exp(frames.envelope[:, : BINS // 5]).mean(1), 2) * (frames.pitch > 0)
    least = 10**-2.5 * float(power.max())
    settled = []
    for sound in sounds:
        first, last = int(sound.vowel / FRAME), max(int(sound.vowel_end / FRAME), int(sound.vowel / FRAME) + 1)
        span = power[first:last]
        if not len(span) or span.max() <= least:
            continue
        core = int(span.argmax())
        faded = np.flatnonzero(span[core:] < 10**-1.8 * span[core])
        end = sound.vowel + (core + int(faded[0])) * FRAME if len(faded) else sound.vowel_end
        core_time = float(np.clip(sound.vowel + core * FRAME, sound.vowel + 0.01, max(end - 0.01, sound.vowel + 0.01)))
        settled.append(replace(sound, core=core_time, vowel_end=max(end, core_time + 0.01)))
    return settled


def sing(
    rng: np.random.Generator,
    frames: Frames,
    sounds: Sequence[SungSyllable],
    notes: Sequence[Note],
    singer: Singer,
    spoken: bool = False,
) -> tuple[Signal, float]:
    """Sing one phrase.

    Args:
        rng: the singer's habits of the moment.
        frames: the spoken phrase.
        sounds: its syllables. If there are fewer than notes, the last are slurred; spare ones stay unsung.
        notes: the melody, in order, without overlaps.
        singer: who sings.
        spoken: keep the pitch of speech, moved to the height of the notes (rap).

    Returns:
        Mono audio at 44.1 kHz, vowels at a level of 0.25, and the time in seconds at which it begins.
    """
    count = min(len(sounds), len(notes))
    slurred = notes[count - 1 :]
    groups = [(note.start, note.end) for note in notes[: count - 1]] + [(slurred[0].start, slurred[-1].end)]
    out_times, source_times, centres = _time_map(sounds[:count], groups)
    start = out_times[0]
    length = int((out_times[-1] - start) / FRAME) + 1
    clock: Signal = np.asarray(start + np.arange(length) * FRAME)
    source = np.interp(clock, out_times, source_times) / FRAME
    source += 1.2 * _drift(rng, length, 5.0)  # held vowels move a little
    source = np.clip(source, 0, len(frames.pitch) - 1.001)

    voiced = frames.pitch[np.round(source).astype(int)] > 0
    for (begin, end), sound in zip(groups, sounds, strict=False):
        consonants = sound.vowel - sound.onset
        voiced |= (clock >= begin) & (clock < max(begin + 0.02, end - consonants - 0.12))
    if spoken:
        natural = frames.pitch[np.round(source).astype(int)]
        height = np.median(frames.pitch[frames.pitch > 0]) if (frames.pitch > 0).any() else 120.0
        target = 440 * 2 ** ((np.mean([note.pitch for note in notes]) - 69) / 12)
        pitch = np.where(natural > 0, natural, height) * target / height
    else:
        pitch = 440 * 2 ** ((_pitch_curve(rng, notes, singer, clock) - 69) / 12)
    said = Frames(np.where(voiced, pitch, 0.0), _rows(frames.envelope, source), _rows(frames.noise, source))
    audio = _synthesize(said, singer)
    audio = soften(audio * _loudness(audio, clock, centres, notes, start))
    attack, release = min(len(audio) // 2, RATE // 200), min(len(audio) // 2, RATE // 14)
    audio[:attack] *= np.linspace(0, 1, attack)
    audio[len(audio) - release :] *= np.linspace(1, 0, release) ** 1.5
    if singer.breath and rng.random() < 0.7:
        audio, start = _with_breath(rng, audio, start, singer)
    return audio, start


def retune(
    rng: np.random.Generator, frames: Frames, notes: Sequence[Note], singer: Singer, start: float
) -> tuple[Signal, float]:
    """Give a phrase that is in time already, and begins at `start` seconds, the melody's pitch and another singer.

    Returns:
        As ``sing``.
    """
    clock: Signal = np.asarray(start + np.arange(len(frames.pitch)) * FRAME)
    pitch = 440 * 2 ** ((_pitch_curve(rng, notes, singer, clock) - 69) / 12)
    audio = _synthesize(Frames(np.where(frames.pitch > 0, pitch, 0.0), frames.envelope, frames.noise), singer)
    centres = [note.start + 0.4 * note.length for note in notes]
    return soften(audio * _loudness(audio, clock, centres, notes, start)), start


def _synthesize(frames: Frames, singer: Singer) -> Signal:
    """Audio of frames, sung by a singer of another size and brightness."""
    tilt = singer.brightness * np.log(10) / 10 * np.log2(np.maximum(np.linspace(0, RATE / 2, BINS), 1000) / 1000)
    envelope = _warp_rows(frames.envelope, singer.tract) + np.minimum(tilt, 6 * np.log(10) / 10)
    noise = np.clip(_warp_rows(frames.noise, singer.tract), 0.001, 0.999)
    pitch, power, share = (np.ascontiguousarray(x) for x in (frames.pitch, np.exp(envelope), noise))
    return np.asarray(pyworld.synthesize(pitch, power, share, RATE, 1000 * FRAME))


def _time_map(
    sounds: Sequence[SungSyllable], groups: Sequence[tuple[float, float]]
) -> tuple[list[float], list[float], list[float]]:
    """Knots of the map from singing time to speech time, and the middle of each vowel in singing time.

    A vowel begins with its note, after consonants of natural length, which shorten the note before. The vowel keeps its
    pace towards its core and away from it while there is room; the core is held.
    """
    out: list[float] = []
    source: list[float] = []
    centres: list[float] = []
    for index, (sound, (begin, end)) in enumerate(zip(sounds, groups, strict=True)):
        consonants = min(sound.vowel - sound.onset, 0.25)
        room = begin - (groups[index - 1][0] if index else begin - 1)
        consonants = min(consonants, 0.45 * room)
        if index and sounds[index - 1].vowel_end > sound.onset + 1e-6:
            consonants = 0.0
        stop = end
        if index + 1 < len(sounds):
            following = sounds[index + 1]
            gap = groups[index + 1][0]
            stop = min(end, gap - min(following.vowel - following.onset, 0.25, 0.45 * (gap - begin)))
        if out and begin - consonants > out[-1] + 0.08:  # a rest inside the phrase: close on the consonant's edge
            out.append(begin - consonants - 0.03)
            source.append(sound.onset)
        elif out and begin - consonants <= out[-1]:
            consonants = max(0.0, begin - out[-1] - 0.005)
        out.append(begin - consonants)
        source.append(sound.onset if consonants > 0.005 else sound.vowel)
        lasting = max(stop - begin, 0.03)
        held = min(0.02, 0.2 * (sound.vowel_end - sound.vowel))
        rise = min(max(sound.core - held - sound.vowel, 0.0), 0.45 * lasting)
        fall = min(max(sound.vowel_end - sound.core - held, 0.0), 0.35 * lasting)
        for moment, spoken in (
            (begin, sound.vowel),
            (begin + rise, max(sound.core - held, sound.vowel)),
            (begin + lasting - fall, min(sound.core + held, sound.vowel_end)),
            (begin + lasting, sound.vowel_end),
        ):
            if moment > out[-1]:
                out.append(moment)
                source.append(spoken)
        centres.append(begin + 0.4 * lasting)
    closing = sounds[-1].end - sounds[-1].vowel_end
    out.append(out[-1] + max(closing, 0.02))
    source.append(sounds[-1].end if closing > 0 else source[-1])
    return out, source, centres


def _pitch_curve(rng: np.random.Generator, notes: Sequence[Note], singer: Singer, clock: Signal) -> Signal:
    """MIDI pitch at each moment."""
    ends = np.array([note.end for note in notes])
    index = np.minimum(np.searchsorted(ends, clock, side="right"), len(notes) - 1)
    tuned = np.array([note.pitch + singer.detune * rng.standard_normal() for note in notes])
    pitch = tuned[index]
    for note in notes:
        if rng.random() < singer.scoop:
            early = (clock >= note.start - 0.02) & (clock < note.start + rng.uniform(0.04, 0.1))
            pitch = np.where(early, pitch - rng.uniform(0.4, 1.8), pitch)
    pitch = gaussian_filter1d(pitch, singer.glide / FRAME / 2.5, mode="nearest")
    depth = np.zeros(len(clock))
    for note in notes:
        late = (clock - note.start - rng.uniform(0.15, 0.4)) / 0.35
        inside = (clock >= note.start) & (clock < note.end) & (note.length > 0.35)
        depth = np.where(inside, singer.vibrato_depth * np.clip(late, 0, 1), depth)
    rate = singer.vibrato_rate * (1 + 0.06 * _drift(rng, len(clock), 2.0))
    phase = 2 * np.pi * (rng.random() + np.cumsum(rate) * FRAME)
    wobble = 0.06 * _drift(rng, len(clock), 4.0) + 0.015 * rng.standard_normal(len(clock))
    return pitch + gaussian_filter1d(depth, 6) * np.sin(phase) + wobble


def _drift(rng: np.random.Generator, length: int, per_second: float) -> Signal:
    """A random curve of deviation about 1 that turns so many times a second."""
    knots = rng.standard_normal(int(length * FRAME * per_second) + 4)
    return np.interp(np.arange(length) * FRAME * per_second, np.arange(len(knots)), knots)


def _rows(table: Signal, at: Signal) -> Signal:
    """Rows of a table at fractional positions."""
    first = at.astype(int)
    part = (at - first)[:, None]
    return (1 - part) * table[first] + part * table[first + 1]


def _warp_rows(table: Signal, tract: float) -> Signal:
    """Move every row along frequency by a factor."""
    at = np.clip(np.arange(BINS) / tract, 0, BINS - 1.001)
    first = at.astype(int)
    part = at - first
    return (1 - part) * table[:, first] + part * table[:, first + 1]


def _loudness(audio: Signal, clock: Signal, centres: Sequence[float], notes: Sequence[Note], start: float) -> Signal:
    """Gain curve that gives each vowel the loudness of its note."""
    gains = []
    for centre, note in zip(centres, notes, strict=False):
        first = max(0, int((centre - start - 0.03) * RATE))
        level = float(np.sqrt(np.mean(audio[first : first + int(0.06 * RATE)] ** 2))) if first < len(audio) else 0.0
        gains.append(0.25 * note.velocity / max(level, 1e-6))
    limit = 3 * float(np.median(gains))
    time = start + np.arange(len(audio)) / RATE
    return np.exp(np.interp(time, centres, np.log(np.minimum(gains, limit))))


def soften(audio: Signal) -> Signal:
    """Hold back hisses and bursts: a de-esser above 5 kHz, then a limiter.

    Vowels are at 0.25; as in sung recordings a hiss is to stay some 15 dB below them.
    """
    split = butter(2, 5000, "highpass", fs=RATE, output="sos")
    window = RATE // 200
    high = np.asarray(sosfilt(split, audio))
    low = audio - high
    strength = np.sqrt(uniform_filter1d(uniform_filter1d(high**2, window), window) + 1e-12)
    audio = low + high * np.minimum(1, 0.045 / strength)
    strength = np.sqrt(uniform_filter1d(uniform_filter1d(audio**2, window), window) + 1e-12)
    return np.asarray(audio * np.minimum(1, 0.4 / strength))


def _with_breath(rng: np.random.Generator, audio: Signal, start: float, singer: Singer) -> tuple[Signal, float]:
    """Breathe in before the phrase."""
    seconds = float(rng.uniform(0.2, 0.45))
    noise = rng.standard_normal(int(seconds * RATE))
    band = butter(1, [900 * singer.tract, 4000], "bandpass", fs=RATE, output="sos")
    rise = np.minimum(np.linspace(0, 1, len(noise)) / 0.7, np.linspace(1, 0, len(noise)) / 0.3)
    breath = singer.breath * np.asarray(sosfilt(band, noise)) * np.clip(rise, 0, 1) ** 1.5
    gap = np.zeros(int(0.05 * RATE))
    return np.concatenate([breath, gap, audio]), start - (len(breath) + len(gap)) / RATE

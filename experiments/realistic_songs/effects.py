"""Effects as in a mix: chains for each kind of instrument, an amplifier, and what the vocals go through."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pedalboard import (
    Chorus,
    Compressor,
    Delay,
    Distortion,
    HighpassFilter,
    HighShelfFilter,
    LowpassFilter,
    LowShelfFilter,
    MP3Compressor,
    PeakFilter,
    Pedalboard,
    Phaser,
    Plugin,
    Reverb,
)
from scipy.signal import butter, resample_poly, sosfilt

from .composer import RATE

Signal = NDArray[np.float64]


def apply(plugins: Sequence[Plugin], audio: Signal) -> Signal:
    """Send (2, N) audio through effects."""
    if not plugins:
        return audio
    return np.asarray(Pedalboard(list(plugins))(audio.astype(np.float32), RATE), dtype=np.float64)


def decibels(value: float) -> float:
    """Amplitude of a level in dB."""
    return float(10 ** (value / 20))


def place(audio: Signal, position: float, width: float = 1.0) -> Signal:
    """Move stereo audio between left (-1) and right (+1), and narrow it (0: mono, 1: as it is)."""
    middle, side = audio.mean(0), width * (audio[0] - audio[1]) / 2
    angle = (position + 1) * np.pi / 4
    gains = 2**0.5 * np.array([np.cos(angle), np.sin(angle)])
    return np.stack([gains[0] * (middle + side), gains[1] * (middle - side)])


def draw_room(rng: np.random.Generator) -> tuple[float, float]:
    """Size and damping of the room that all players share."""
    return float(rng.uniform(0.15, 0.85)), float(rng.uniform(0.3, 0.8))


def reverb(room: tuple[float, float], wet: float, width: float = 1.0) -> Reverb:
    """The room's answer at a level beside the dry sound."""
    return Reverb(room_size=room[0], damping=room[1], wet_level=wet, dry_level=1.0 - 0.4 * wet, width=width)


def bass_chain(rng: np.random.Generator) -> list[Plugin]:
    """Compression, tone, now and then some drive."""
    chain: list[Plugin] = [
        HighpassFilter(float(rng.uniform(25, 45))),
        Compressor(threshold_db=-22, ratio=float(rng.uniform(2.5, 6)), attack_ms=8, release_ms=120),
        PeakFilter(float(rng.uniform(60, 120)), float(rng.uniform(-2, 4)), 0.8),
        PeakFilter(float(rng.uniform(600, 1800)), float(rng.uniform(-4, 5)), 0.9),
    ]
    if rng.random() < 0.3:
        chain.append(Distortion(float(rng.uniform(4, 14))))
        chain.append(LowpassFilter(float(rng.uniform(2500, 5000))))
    return chain


def drum_chain(rng: np.random.Generator, room: tuple[float, float], machine: bool) -> list[Plugin]:
    """A drum bus: tone, glue, room."""
    chain: list[Plugin] = [
        LowShelfFilter(90, float(rng.uniform(-2, 5))),
        PeakFilter(400, float(rng.uniform(-5, 1)), 0.8),
        HighShelfFilter(7000, float(rng.uniform(-2, 5))),
        Compressor(
            threshold_db=float(rng.uniform(-24, -10)),
            ratio=float(rng.uniform(1.5, 5)),
            attack_ms=float(rng.uniform(5, 35)),
            release_ms=float(rng.uniform(60, 200)),
        ),
    ]
    if rng.random() < 0.2:
        chain.append(Distortion(float(rng.uniform(2, 9))))
    wet = rng.uniform(0.0, 0.06) if machine else rng.uniform(0.02, 0.18)
    return [*chain, reverb(room, float(wet))]


def tame_cymbals(audio: Signal) -> Signal:
    """Turn down what is above 7 kHz in a drum bus until it has at most an eighth of the energy, as in records."""
    power = np.abs(np.fft.rfft(audio.mean(0))) ** 2
    high = round(7000 / RATE * audio.shape[1])
    share = float(power[high:].sum() / max(power.sum(), 1e-12))
    excess = 10 * np.log10(max(share / (1 - min(share, 0.99)), 1e-9) * 7)
    return apply([HighShelfFilter(5500, -float(min(excess, 15.0)))], audio) if excess > 0 else audio


def player_chain(rng: np.random.Generator, kind: str, room: tuple[float, float], beat: float) -> list[Plugin]:
    """Effects of an accompanying instrument; `beat` is the length of a beat in seconds, for the delay."""
    lowest = {"distorted guitar": 80.0, "strings": 60.0, "keys": 50.0}.get(kind, 100.0)
    chain: list[Plugin] = [
        HighpassFilter(float(rng.uniform(0.8, 1.6) * lowest)),
        PeakFilter(float(rng.uniform(250, 600)), float(rng.uniform(-4, 1)), 0.9),
        PeakFilter(float(rng.uniform(1500, 5000)), float(rng.uniform(-3, 4)), 0.8),
    ]
    if kind in ("acoustic guitar", "clean guitar", "keys") and rng.random() < 0.6:
        chain.append(Compressor(threshold_db=-20, ratio=float(rng.uniform(1.5, 4)), attack_ms=10, release_ms=150))
    if kind in ("clean guitar", "pad", "keys") and rng.random() < 0.35:
        chain.append(Chorus(rate_hz=float(rng.uniform(0.3, 1.5)), depth=float(rng.uniform(0.1, 0.3)), mix=0.4))
    if kind in ("clean guitar", "pluck", "keys") and rng.random() < 0.12:
        chain.append(Phaser(rate_hz=float(rng.uniform(0.2, 1.0)), depth=0.5, mix=0.4))
    if kind in ("clean guitar", "pluck", "solo") and rng.random() < 0.5:
        time = beat * float(rng.choice([0.5, 0.75, 1.0]))
        chain.append(Delay(time, feedback=float(rng.uniform(0.1, 0.45)), mix=float(rng.uniform(0.08, 0.25))))
    if kind == "pad" and rng.random() < 0.5:
        chain.append(LowpassFilter(float(rng.uniform(1500, 6000))))
    wet = {"pad": 0.3, "strings": 0.25, "solo": 0.2, "distorted guitar": 0.06}.get(kind, 0.12)
    return [*chain, reverb(room, float(wet * rng.uniform(0.3, 1.7)))]


def amplify(rng: np.random.Generator, audio: Signal, drive: float) -> Signal:
    """A guitar amplifier and its loudspeaker.

    Two saturating stages, the second lopsided as a tube is, at four times the rate so that nothing folds back; then
    the loudspeaker: a resonance near 110 Hz, a dip, presence, and a steep fall above 4 to 6 kHz.

    Args:
        rng: draws the tone.
        audio: (2, N) or (N,), peak about 1.
        drive: dB in front of the first stage.
    """
    tight = butter(2, float(rng.uniform(90, 220)), "highpass", fs=RATE, output="sos")
    stage = resample_poly(sosfilt(tight, audio, axis=-1), 4, 1, axis=-1)
    stage = np.tanh(decibels(drive) * stage)
    stage = np.tanh(2.0 * (0.7 * stage + 0.12)) - np.tanh(0.24)
    out = resample_poly(stage, 1, 4, axis=-1)
    block = butter(1, 40, "highpass", fs=RATE, output="sos")
    cabinet = butter(4, float(rng.uniform(4000, 6000)), "lowpass", fs=RATE, output="sos")
    out = np.atleast_2d(sosfilt(cabinet, sosfilt(block, out, axis=-1), axis=-1))
    tone: list[Plugin] = [
        PeakFilter(110, float(rng.uniform(1, 5)), 1.0),
        PeakFilter(float(rng.uniform(350, 600)), float(rng.uniform(-7, -1)), 0.8),
        PeakFilter(float(rng.uniform(2200, 3400)), float(rng.uniform(1, 6)), 1.0),
    ]
    return apply(tone, out)


def vocal_chain(rng: np.random.Generator, room: tuple[float, float], beat: float, backing: bool) -> list[Plugin]:
    """What singers go through: low cut, two compressors, presence, air, echo, reverberation; seldom a telephone."""
    chain: list[Plugin] = [
        HighpassFilter(float(rng.uniform(70, 150 if not backing else 250))),
        PeakFilter(float(rng.uniform(250, 450)), float(rng.uniform(-4, 1)), 0.9),
        Compressor(threshold_db=-18, ratio=float(rng.uniform(3, 8)), attack_ms=2, release_ms=80),
        Compressor(threshold_db=-26, ratio=float(rng.uniform(1.5, 3)), attack_ms=20, release_ms=250),
        PeakFilter(float(rng.uniform(2500, 4500)), float(rng.uniform(-1, 4)), 0.8),
        HighShelfFilter(9000, float(rng.uniform(-1, 4))),
    ]
    effect = rng.random()
    if effect < 0.04:
        chain += [HighpassFilter(400), HighpassFilter(400), LowpassFilter(3500), Distortion(10)]
    elif effect < 0.12:
        chain.append(Distortion(float(rng.uniform(3, 10))))
    elif effect < 0.18:
        chain.append(Chorus(rate_hz=0.8, depth=0.2, mix=0.35))
    if rng.random() < 0.45:
        time = float(rng.choice([0.09, beat / 2, beat * 0.75, beat]))
        chain.append(Delay(time, feedback=float(rng.uniform(0.0, 0.4)), mix=float(rng.uniform(0.06, 0.22))))
    wet = rng.uniform(0.02, 0.16) + (0.1 if backing else 0.0)
    size = (float(np.clip(room[0] + rng.uniform(-0.2, 0.3), 0.05, 0.95)), room[1])
    return [*chain, reverb(size, float(wet))]


def codec(quality: float) -> list[Plugin]:
    """MP3 with a variable bit rate; quality 0 is the best, 9 the worst."""
    return [MP3Compressor(quality)]

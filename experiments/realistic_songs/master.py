"""From stems to a finished record: balance, loudness, limiting, whole numbers.

Whatever depends on the level of the sum, such as a limiter, becomes one gain curve that multiplies every stem. The
mixture stays the exact sum of its stems.
"""

import numpy as np
from numpy.typing import NDArray
from pedalboard import HighShelfFilter, LowShelfFilter, PeakFilter
from scipy.ndimage import minimum_filter1d, uniform_filter1d
from scipy.signal import lfilter

from .composer import RATE, STEMS
from .effects import apply, codec, decibels

Signal = NDArray[np.float64]

CEILING = 0.96


def active(audio: Signal) -> NDArray[np.bool_]:
    """Which samples of (2, N) audio belong to 50-ms stretches within 45 dB of the loudest."""
    power = uniform_filter1d((audio**2).mean(0), RATE // 20)
    return np.asarray(power > 10**-4.5 * max(float(power.max()), 1e-12))


def level(audio: Signal, mask: NDArray[np.bool_] | None = None) -> float:
    """Root mean square of (2, N) audio where it sounds, or where a mask says."""
    mask = active(audio) if mask is None else mask
    return float(np.sqrt(np.mean(audio[:, mask] ** 2))) if mask.any() else 0.0


def set_level(audio: Signal, target: float) -> Signal:
    """Scale (2, N) audio so that it sounds at a level in dB below full scale; silence stays silent."""
    found = level(audio)
    return audio * (decibels(target) / found) if found > 1e-7 else np.zeros_like(audio)


def loudness(audio: Signal) -> float:
    """Integrated loudness of (2, N) audio in LUFS: ITU-R BS.1770-4, with both gates."""
    shelf = _biquad_shelf(1681.974450955533, 3.999843853973347, 0.7071752369554196)
    cut = _biquad_highpass(38.13547087602444, 0.5003270373238773)
    weighted = lfilter(*cut, lfilter(*shelf, audio, axis=-1), axis=-1)
    block, hop = round(0.4 * RATE), round(0.1 * RATE)
    blocks = np.lib.stride_tricks.sliding_window_view((weighted**2).sum(0), block)[::hop].mean(-1)
    loud = blocks[blocks > 10 ** ((-70 + 0.691) / 10)]
    if not len(loud):
        return -np.inf
    gated = loud[loud > 0.1 * loud.mean()]
    return float(-0.691 + 10 * np.log10(gated.mean()))


def balance(rng: np.random.Generator, stems: dict[str, Signal]) -> tuple[dict[str, Signal], float]:
    """Set the levels of the stems, and the vocals between -12 and +3 dB of the rest while they sing.

    Returns:
        The stems, and that ratio in dB.
    """
    band = {
        "drums": set_level(stems["drums"], float(rng.normal(-20, 1.5))),
        "bass": set_level(stems["bass"], float(rng.normal(-21.5, 1.5))),
        "other": set_level(stems["other"], float(rng.normal(-20.5, 1.5))),
    }
    ratio = float(np.clip(rng.normal(-3, 3.2), -12, 3))
    sung = active(stems["vocals"]) if stems["vocals"].any() else np.zeros(stems["vocals"].shape[1], dtype=bool)
    if not sung.any():
        return {**band, "vocals": stems["vocals"]}, -np.inf
    accompaniment = band["drums"] + band["bass"] + band["other"]
    # Where the band is nearly silent, a vocal in proportion would vanish.
    backing = max(level(accompaniment, sung), 0.3 * level(accompaniment))
    gain = decibels(ratio) * backing / max(level(stems["vocals"], sung), 1e-9)
    return {**band, "vocals": gain * stems["vocals"]}, ratio


def master(rng: np.random.Generator, stems: dict[str, Signal]) -> dict[str, Signal]:
    """Width, tone, glue, loudness and limiting of a whole record, and for one song in five an MP3 encoder."""
    width = float(rng.uniform(1.0, 2.0))
    stems = {name: widen(audio, width) if name != "bass" else audio for name, audio in stems.items()}
    tone = [
        LowShelfFilter(100, float(rng.uniform(-2, 2))),
        PeakFilter(float(rng.uniform(300, 3000)), float(rng.uniform(-1.5, 1.5)), 0.6),
        HighShelfFilter(8000, float(rng.uniform(-2.5, 2.5))),
    ]
    stems = {name: apply(tone, audio) for name, audio in stems.items()}
    gain = decibels(float(rng.uniform(-18, -8.5)) - loudness(_sum(stems)))
    stems = {name: gain * audio for name, audio in stems.items()}
    glue = compression(_sum(stems), threshold=float(rng.uniform(-20, -10)), ratio=float(rng.uniform(1.0, 2.5)))
    stems = {name: glue * audio for name, audio in stems.items()}
    limit = limiting(_peaks(stems))
    stems = {name: limit * audio for name, audio in stems.items()}
    if rng.random() < 0.2:
        encoder = float(rng.uniform(1, 7))
        stems = {name: apply(codec(encoder), audio) if audio.any() else audio for name, audio in stems.items()}
    fade = np.ones(stems["drums"].shape[1])
    fade[-441:] = np.linspace(1, 0, 441)
    scale = min(1.0, CEILING / max(float(_peaks(stems).max()), 1e-9))
    return {name: scale * fade * audio for name, audio in stems.items()}


def widen(audio: Signal, width: float) -> Signal:
    """Scale the difference of left and right in (2, N) audio."""
    middle, side = audio.mean(0), width * (audio[0] - audio[1]) / 2
    return np.stack([middle + side, middle - side])


def compression(mixture: Signal, threshold: float, ratio: float) -> Signal:
    """Gain curve (N,) of a slow compressor that reduces what exceeds a threshold in dB."""
    window = round(0.05 * RATE)
    power = uniform_filter1d(uniform_filter1d((mixture**2).mean(0), window), window)
    over = np.maximum(10 * np.log10(power + 1e-12) - threshold, 0)
    return np.asarray(10 ** (-over * (1 - 1 / ratio) / 20))


def limiting(peaks: Signal) -> Signal:
    """Gain curve (N,) that keeps peaks (N,) below the ceiling, 20 ms ahead of every one."""
    need = np.minimum(1.0, CEILING / np.maximum(peaks, 1e-9))
    window = 2 * (RATE // 50) + 1
    held = minimum_filter1d(need, 2 * window + 1)
    # A moving average no wider than the minimum never rises above the gain that a peak needs.
    return np.asarray(uniform_filter1d(uniform_filter1d(held, window), window))


def quantise(stems: dict[str, Signal]) -> dict[str, NDArray[np.int16]]:
    """Round stems to (N, 2) int16, and sum them: the mixture is exact."""
    rounded = {name: np.rint(stems[name].T * 32767).astype(np.int16) for name in STEMS}
    mixture = np.sum([rounded[name].astype(np.int32) for name in STEMS], axis=0)
    if np.abs(mixture).max() > 32767:
        raise AssertionError("the mixture clips")
    return {"mixture": mixture.astype(np.int16), **rounded}


def _peaks(stems: dict[str, Signal]) -> Signal:
    """The largest magnitude at each sample, of the mixture and of every stem: each must fit into 16 bits."""
    return np.max([np.abs(audio).max(0) for audio in (_sum(stems), *stems.values())], axis=0)


def _sum(stems: dict[str, Signal]) -> Signal:
    return np.sum(list(stems.values()), axis=0)


def _biquad_shelf(frequency: float, gain: float, q: float) -> tuple[Signal, Signal]:
    """BS.1770's high shelf at any rate, as De Man derives it ("Evaluation of implementations...", AES 145, 2018)."""
    k = np.tan(np.pi * frequency / RATE)
    high = 10 ** (gain / 20)
    band = high**0.4996667741545416
    norm = 1 + k / q + k * k
    b = np.array([high + band * k / q + k * k, 2 * (k * k - high), high - band * k / q + k * k]) / norm
    return b, np.array([1.0, 2 * (k * k - 1) / norm, (1 - k / q + k * k) / norm])


def _biquad_highpass(frequency: float, q: float) -> tuple[Signal, Signal]:
    k = np.tan(np.pi * frequency / RATE)
    norm = 1 + k / q + k * k
    return np.array([1.0, -2.0, 1.0]), np.array([1.0, 2 * (k * k - 1) / norm, (1 - k / q + k * k) / norm])

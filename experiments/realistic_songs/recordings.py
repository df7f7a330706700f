"""Excerpts of real music without voices, as accompaniments."""

import functools
import io
import zipfile
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from .composer import MODES, RATE, Harmony
from .sources import NEXUIZ, UFOAI, WESNOTH, Pool

Signal = NDArray[np.float64]

TOO_SHORT = frozenset(
    (
        "silence.ogg",
        "thunder.ogg",
        "defeat.ogg",
        "defeat2.ogg",
        "victory.ogg",
        "victory2.ogg",
        "dynamictest-battle-41-74sec.ogg",
        "dynamictest-normal-08-35sec.ogg",
        "PsymongR4.ogg",
        "PsymongR5.ogg",
        "ufo2.ogg",
    )
)
VOICES_FOUND = frozenset(
    (
        "nunc_dimittis.ogg",
        "battle-epic.ogg",
        "elf-land.ogg",
        "heroes_rite.ogg",
        "knalgan_theme.ogg",
        "legends_of_the_north.ogg",
        "love_theme.ogg",
        "return_to_wesnoth.ogg",
        "revelation.ogg",
        "traveling_minstrels.ogg",
        "underground.ogg",
        "brainsukker.ogg",
        "digital-pursuit.ogg",
        "PsymongO1.ogg",
        "AlexFightmare.ogg",
        "Crystan-Geosphere04.ogg",
        "dbsea.ogg",
        "turinItalyM.ogg",
    )
)
"""Recordings in which Spleeter finds a voice, or takes an instrument for one.

Of two stretches of 12 s it gives more than a thirtieth of the median second's energy to the vocals (-15 dB), or more
than a third (-5 dB) of some second's.
"""

# Krumhansl and Kessler's key profiles (Psychological Review 89(4), 1982).
_PROFILES = {
    "major": (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88),
    "minor": (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17),
}


def names(pool: Pool) -> list[tuple[Path, str]]:
    """Archive or folder, and name within it, of each recording of a pool; no composer is in two pools."""
    composer = {"valid": "music/Psymong", "test": "music/Crystan"}
    if pool == "train":
        found = [(WESNOTH, path.name) for path in sorted(WESNOTH.glob("*.ogg"))]
        found += [(NEXUIZ, name) for name in _listed(NEXUIZ)]
        found += [(UFOAI, name) for name in _listed(UFOAI) if not name.startswith(tuple(composer.values()))]
    else:
        found = [(UFOAI, name) for name in _listed(UFOAI) if name.startswith(composer[pool])]
    return [(place, name) for place, name in found if Path(name).name not in TOO_SHORT | VOICES_FOUND]


def excerpt(rng: np.random.Generator, pool: Pool, seconds: float) -> tuple[Signal, str]:
    """A stretch of a recording as (2, N) at 44.1 kHz, and its name; no stretch that is much quieter than the rest."""
    choices = names(pool)
    while True:
        place, name = choices[int(rng.integers(len(choices)))]
        audio, rate = read(place, name)
        length = round(seconds * rate)
        if len(audio) < length + rate:
            continue
        usual = float(np.sqrt(np.mean(audio**2)))
        for _ in range(8):
            first = int(rng.integers(len(audio) - length))
            cut = audio[first : first + length]
            if np.sqrt(np.mean(cut**2)) > 0.7 * usual:
                break
        stereo = np.repeat(cut, 2, axis=1) if cut.shape[1] == 1 else cut[:, :2]
        resampled = np.asarray(soxr.resample(stereo, rate, RATE)).T[:, : round(seconds * RATE)]
        missing = round(seconds * RATE) - resampled.shape[1]
        return np.pad(resampled, ((0, 0), (0, missing))), Path(name).stem


def read(place: Path, name: str) -> tuple[Signal, int]:
    """A whole recording (N, channels), and its rate."""
    if place.is_dir():
        return soundfile.read(place / name, dtype="float64", always_2d=True)
    with zipfile.ZipFile(place) as archive:
        return soundfile.read(io.BytesIO(archive.read(name)), dtype="float64", always_2d=True)


def guess_harmony(audio: Signal, bars: int) -> Harmony:
    """The key that the pitch classes of (2, N) audio correlate with most; the tonic's chord in every bar."""
    mono = soxr.resample(audio.mean(0), RATE, 11025)
    size = 8192
    frames = np.lib.stride_tricks.sliding_window_view(mono, size)[:: size // 2] * np.hanning(size)
    magnitude = np.abs(np.fft.rfft(frames, axis=1)).mean(0)
    frequency = np.fft.rfftfreq(size, 1 / 11025)
    use = (frequency > 80) & (frequency < 2000)
    classes = np.round(69 + 12 * np.log2(frequency[use] / 440)).astype(int) % 12
    chroma = np.bincount(classes, weights=magnitude[use], minlength=12)
    scores = {
        (tonic, mode): float(np.corrcoef(np.roll(profile, tonic), chroma)[0, 1])
        for mode, profile in _PROFILES.items()
        for tonic in range(12)
    }
    tonic, mode = max(scores, key=lambda key: scores[key])
    return Harmony(tonic, MODES[mode], (0,) * bars, False)


@functools.cache
def _listed(archive: Path) -> tuple[str, ...]:
    with zipfile.ZipFile(archive) as opened:
        return tuple(sorted(name for name in opened.namelist() if name.endswith(".ogg")))

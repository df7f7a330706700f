"""Figures of songs, beside those of real recordings: ``python -m experiments.realistic_songs.measure ROOT``."""

import sys
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from .composer import RATE, STEMS
from .dataset import FILES
from .master import active, loudness
from .recordings import names, read

Signal = NDArray[np.float64]


def figures(audio: Signal) -> dict[str, float]:
    """Loudness (LUFS), crest (dB), spectral centroid (Hz), range (dB, 10 to 95 %) and width (dB) of (2, N) audio."""
    size = 4096
    mono = audio.mean(0)
    frames = np.lib.stride_tricks.sliding_window_view(mono, size)[::size] * np.hanning(size)
    power = (np.abs(np.fft.rfft(frames, axis=1)) ** 2).mean(0)
    frequency = np.fft.rfftfreq(size, 1 / RATE)
    short = 10 * np.log10((audio**2).mean(0)[: len(mono) // RATE * RATE].reshape(-1, RATE).mean(1) + 1e-10)
    side = (audio[0] - audio[1]) / 2
    return {
        "loudness": loudness(audio),
        "crest": 20 * np.log10(np.abs(audio).max() / np.sqrt(np.mean(audio**2))),
        "centroid": float((np.sqrt(power) * frequency).sum() / np.sqrt(power).sum()),
        "above 10 kHz": 10 * np.log10(power[frequency > 10000].sum() / power.sum()),
        "range": float(np.percentile(short, 95) - np.percentile(short, 10)),
        "side": 10 * np.log10((side**2).mean() / (mono**2).mean() + 1e-10),
    }


def song_figures(folder: Path) -> dict[str, float]:
    """Figures of a song's mixture and of its vocals beside the rest.

    Raises:
        ValueError: the mixture is not the sum of the stems, or touches full scale.
    """
    audio = {name: soundfile.read(folder / f"{name}.wav", dtype="int16")[0].T for name in ("mixture", *STEMS)}
    if not (np.sum([audio[name].astype(np.int32) for name in STEMS], axis=0) == audio["mixture"]).all():
        raise ValueError(f"{folder}: the mixture is not the sum of its stems")
    if np.abs(audio["mixture"].astype(np.int32)).max() >= 32767:
        raise ValueError(f"{folder}: the mixture touches full scale")
    mixture, vocals = (audio[name] / 32768 for name in ("mixture", "vocals"))
    sung = active(vocals)
    rest = mixture - vocals
    jump = float(np.abs(np.diff(vocals, axis=1)).max() / (np.abs(vocals).max() + 1e-9))
    return {
        **figures(mixture),
        "sung": float(sung.mean()),
        "vocals": 10 * np.log10((vocals[:, sung] ** 2).mean() / ((rest[:, sung] ** 2).mean() + 1e-12) + 1e-12),
        "jump": jump,
    }


def main() -> None:
    """Print quartiles over the songs of a set, and over a minute of each training recording."""
    root = Path(sys.argv[1])
    folders = sorted(path.parent for path in root.glob(f"*/*/{FILES[0]}"))
    print_quartiles(f"{len(folders)} songs", [song_figures(folder) for folder in folders])
    rows = []
    for place, name in names("train")[::4]:
        audio, rate = read(place, name)
        if rate == RATE and audio.shape[1] == 2 and len(audio) > 90 * rate:
            rows.append(figures(audio[30 * rate : 90 * rate].T))
    print_quartiles(f"{len(rows)} recordings", rows)


def print_quartiles(title: str, rows: list[dict[str, float]]) -> None:
    """Smallest, quartiles and largest of every figure."""
    print(title)
    for name in rows[0]:
        values = np.percentile([row[name] for row in rows], [0, 25, 50, 75, 100])
        print(f"  {name:12s}" + "".join(f"{value:10.2f}" for value in values))


if __name__ == "__main__":
    main()

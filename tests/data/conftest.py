"""Tiny tracks in the MUSDB18-HQ layout."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from wsa_lightning.data.tracks import Track, open_track

RATE = 44100
SOURCES = ("vocals", "drums", "bass", "other")

WriteTrack = Callable[..., Path]
MakeTrack = Callable[..., Track]


@pytest.fixture
def write_track() -> WriteTrack:
    """Write a track of noise, each source peaking at 0.2 unless it is named in ``silent``."""

    def write(
        folder: Path, samples: int = 2000, silent: tuple[str, ...] = (), rate: int = RATE, channels: int = 2
    ) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(sum(folder.name.encode()))
        mixture: NDArray[np.float32] = np.zeros((samples, channels), np.float32)
        for source in SOURCES:
            audio = noise.uniform(-0.2, 0.2, (samples, channels)).astype(np.float32) * (source not in silent)
            mixture += audio
            soundfile.write(folder / f"{source}.wav", audio, rate, subtype="FLOAT")
        soundfile.write(folder / "mixture.wav", mixture, rate, subtype="FLOAT")
        return folder

    return write


@pytest.fixture
def make_track(tmp_path: Path, write_track: WriteTrack) -> MakeTrack:
    """Write a track under the test's folder and open it."""

    def make(name: str = "track", samples: int = 2000, silent: tuple[str, ...] = ()) -> Track:
        return open_track(write_track(tmp_path / name, samples, silent))

    return make


@pytest.fixture
def tracks(make_track: MakeTrack) -> list[Track]:
    """Three tracks of 2000, 3000 and 4000 samples."""
    return [make_track(f"track {n}", samples) for n, samples in enumerate((2000, 3000, 4000))]

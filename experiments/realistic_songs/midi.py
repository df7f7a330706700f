"""Notes and drum strokes as MIDI, played by FluidSynth with a sampled soundfont."""

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import mido
import numpy as np
import soundfile
from numpy.typing import NDArray

from .composer import RATE, Hit, Note
from .sources import program

Signal = NDArray[np.float64]

GM_DRUMS = {
    "kick": 36, "snare": 38, "rim": 37, "clap": 39, "hat": 42, "pedal": 44, "open": 46, "ride": 51, "crash": 49,
    "crash2": 57, "tom_low": 43, "tom_mid": 47, "tom_high": 50, "shaker": 70, "tambourine": 54, "conga": 63,
}  # fmt: skip
# avldrums has its drums on melodic channels, and fewer of them.
AVLDRUMS = GM_DRUMS | {"tom_low": 41, "tom_mid": 45, "tom_high": 47, "shaker": 64, "conga": 45}
_TICKS = 960  # a second, at MIDI's default of 120 beats a minute
_DRUM_CHANNEL = 9


def play_notes(
    notes: Sequence[Note], instrument: int, soundfont: Path, samples: int, *, vibrato: bool = False
) -> Signal:
    """Render one instrument, without the soundfont's own reverberation, to (2, samples).

    Args:
        notes: what to play.
        instrument: General MIDI program, from 0.
        soundfont: the samples.
        samples: length; what rings longer is cut.
        vibrato: raise the modulation wheel late in long notes.
    """
    messages: list[tuple[float, mido.Message]] = [(0.0, mido.Message("program_change", program=instrument))]
    for note in notes:
        velocity = int(np.clip(round(127 * note.velocity), 1, 127))
        key = round(note.pitch)
        messages.append((note.start, mido.Message("note_on", note=key, velocity=velocity)))
        messages.append((note.end, mido.Message("note_off", note=key)))
        if vibrato and note.length > 0.4:
            messages.append((note.start + 0.3, mido.Message("control_change", control=1, value=55)))
            messages.append((note.end, mido.Message("control_change", control=1, value=0)))
    return _play(messages, soundfont, samples)


def play_kit(hits: Sequence[Hit], kit: int | None, soundfont: Path, samples: int) -> Signal:
    """Render drum strokes to (2, samples) with a soundfont's kit, a program of the drum channel; None for avldrums."""
    channel, keys = (0, AVLDRUMS) if kit is None else (_DRUM_CHANNEL, GM_DRUMS)
    messages = [(0.0, mido.Message("program_change", channel=channel, program=kit or 0))]
    for hit in hits:
        key, velocity = keys[hit.drum], int(np.clip(round(127 * hit.velocity), 1, 127))
        messages.append((hit.start, mido.Message("note_on", channel=channel, note=key, velocity=velocity)))
        messages.append((hit.start + 0.1, mido.Message("note_off", channel=channel, note=key)))
    return _play(messages, soundfont, samples)


def _play(messages: Sequence[tuple[float, mido.Message]], soundfont: Path, samples: int) -> Signal:
    track = mido.MidiTrack()
    now = 0
    # Of simultaneous messages those that end notes come first, so that a repeated note is not cut at once.
    for time, message in sorted(messages, key=lambda timed: (round(timed[0] * _TICKS), timed[1].type == "note_on")):
        tick = round(time * _TICKS)
        track.append(message.copy(time=tick - now))
        now = tick
    file = mido.MidiFile(ticks_per_beat=_TICKS // 2, tracks=[track])
    with tempfile.TemporaryDirectory() as folder:
        file.save(Path(folder, "part.mid"))
        command = [program("fluidsynth"), "-ni", "-q", "-R", "0", "-C", "0", "-g", "0.4", "-r", str(RATE)]
        command += [
            "-O",
            "float",
            "-T",
            "wav",
            "-o",
            "synth.dynamic-sample-loading=1",
            "-F",
            "part.wav",
            str(soundfont),
            "part.mid",
        ]
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=300)
        audio, _ = soundfile.read(Path(folder, "part.wav"), dtype="float64", always_2d=True)
    out = np.zeros((2, samples))
    length = min(samples, len(audio))
    out[:, :length] = audio[:length].T
    return out

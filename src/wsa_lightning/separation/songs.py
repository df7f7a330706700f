"""Separates one audio file into files: read, resampled, separated and written piece by piece."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import Unpack

from wsa_lightning.errors import UserError
from wsa_lightning.models import Roformer, RoformerConfig
from wsa_lightning.separation.audio import Audio, open_audio
from wsa_lightning.separation.outputs import Level, StemFiles, StemFormat
from wsa_lightning.separation.resampling import from_groups, resampled, to_groups
from wsa_lightning.separation.stream import SeparationOptions, separate_stream

INSTRUMENTAL = "instrumental"
ROUNDING = 0.01  # seconds by which resampling to the model's rate and back may change the length


@dataclass
class Separation:
    """The result for one song.

    Attributes:
        seconds: length of the song.
        levels: of the stems, by name.
        notes: what the user should know, such as clipping or resampling.
    """

    seconds: float
    levels: dict[str, Level]
    notes: list[str] = field(default_factory=list)


def available_stems(config: RoformerConfig) -> tuple[str, ...]:
    """The stems that can be written: the model's own, and the mixture minus the vocals as ``instrumental``."""
    extra = () if INSTRUMENTAL in config.stems or "vocals" not in config.stems else (INSTRUMENTAL,)
    return (*config.stems, *extra)


def wanted_stems(config: RoformerConfig, names: Sequence[str] | None) -> tuple[str, ...]:
    """The named ones of ``available_stems``, each once; None is all of them.

    Raises:
        UserError: no name, or one that is not available.
    """
    available = available_stems(config)
    wanted = available if names is None else tuple(dict.fromkeys(names))
    if not wanted or set(wanted) - set(available):
        raise UserError(f"stems is {','.join(wanted)!r}: expected some of {','.join(available)}")
    return wanted


def separate_file(
    model: Roformer,
    path: Path,
    folder: Path,
    *,
    stems: Sequence[str] | None = None,
    form: StemFormat = StemFormat(),  # noqa: B008 - frozen
    comment: str = "",
    advance: Callable[[float, float], object] = lambda done, total: None,
    **options: Unpack[SeparationOptions],
) -> Separation:
    """Separate a file into ``FOLDER/STEM.wav``, at its own sample rate, channels and length.

    Memory does not depend on the length. The instrumental is the file's audio minus the vocals, so that both add up
    to the file.

    Args:
        model: on any device.
        path: any audio file that ``separation.audio`` opens.
        folder: where to write; all stems appear there at once, or none.
        stems: which of ``available_stems``; None is all of them.
        form: how they are stored.
        comment: written into the files' comment field.
        advance: called with the seconds written so far and the seconds in total.
        options: ``chunk_seconds``, ``overlap``, ``batch_size``, ``precision``; see ``separate_stream``.

    Raises:
        UserError: the file cannot be read, the folder cannot be written, an unknown stem, an option out of range.
    """
    wanted = wanted_stems(model.config, stems)
    separator = partial(separate_stream, model, **options)
    with open_audio(path) as audio:
        rate, channels = audio.sample_rate, audio.channels
        with StemFiles(folder, wanted, form, rate, channels, audio.samples, comment) as files:
            samples = 0
            for mixture, separated in _in_step(separator, model.config, audio):
                files.write(choose(model.config, wanted, mixture, separated))
                samples += len(mixture)
                advance(samples / rate, audio.samples / rate)
    return Separation(samples / rate, files.levels, _notes(audio, model.config, files.levels))


def _in_step(
    separator: Callable[[Iterable[Tensor]], Iterator[Tensor]], config: RoformerConfig, audio: Audio
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Pieces of the mixture (n, channels) and of its stems (n, stems, channels), together as long as the file."""
    waiting = _Queue(audio.channels)
    source = resampled(waiting.passing(audio.pieces), audio.channels, audio.sample_rate, config.sample_rate)
    groups = (to_groups(piece, config.channels) for piece in source if len(piece))
    estimates = (from_groups(piece, audio.channels) for piece in separator(groups))
    width = len(config.stems) * audio.channels
    flat = (piece.reshape(-1, width) for piece in estimates)
    for piece in resampled(flat, width, config.sample_rate, audio.sample_rate):
        separated = piece.reshape(-1, len(config.stems), audio.channels)
        mixture = waiting.take(len(separated))
        if len(separated) > len(mixture) + ROUNDING * audio.sample_rate:
            raise RuntimeError(f"{len(separated) - len(mixture)} more samples came out than went in")
        yield mixture, separated[: len(mixture)]
    rest = waiting.take(len(waiting))
    if len(rest) > ROUNDING * audio.sample_rate:
        raise RuntimeError(f"{len(rest)} fewer samples came out than went in")
    if len(rest):
        yield rest, np.zeros((len(rest), len(config.stems), audio.channels), np.float32)


class _Queue:
    """Audio that was read and not yet written."""

    def __init__(self, channels: int) -> None:
        self._pieces: deque[NDArray[np.float32]] = deque()
        self._channels = channels

    def __len__(self) -> int:
        return sum(map(len, self._pieces))

    def passing(self, pieces: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
        """Yield the pieces, and keep each."""
        for piece in pieces:
            self._pieces.append(piece)
            yield piece

    def take(self, samples: int) -> NDArray[np.float32]:
        """Remove and return up to ``samples`` of the oldest samples: (n, channels)."""
        taken: list[NDArray[np.float32]] = [np.zeros((0, self._channels), np.float32)]
        while samples and self._pieces:
            piece = self._pieces.popleft()
            if len(piece) > samples:
                self._pieces.appendleft(piece[samples:])
                piece = piece[:samples]
            samples -= len(piece)
            taken.append(piece)
        return np.concatenate(taken)


def choose(
    config: RoformerConfig, stems: tuple[str, ...], mixture: NDArray[np.float32], separated: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The wanted stems (n, wanted, channels) of a mixture (n, channels) and the model's stems (n, stems, channels)."""
    own = dict(zip(config.stems, separated.swapaxes(0, 1), strict=True))  # name: (n, channels)
    return np.stack([own[stem] if stem in own else mixture - own["vocals"] for stem in stems], axis=1)


def _notes(audio: Audio, config: RoformerConfig, levels: dict[str, Level]) -> list[str]:
    notes = []
    if audio.sample_rate != config.sample_rate:
        notes.append(f"{audio.sample_rate} Hz, resampled to the model's {config.sample_rate} Hz and back")
    if audio.channels == 1 and config.channels == 2:
        notes.append("mono, given to the model on both channels")
    elif audio.channels != config.channels:
        notes.append(f"{audio.channels} channels, separated {config.channels} at a time, in order")
    for stem, level in levels.items():
        if level.clipped:
            notes.append(
                f"{stem} clipped at {level.clipped} samples, its peak is {20 * np.log10(level.peak):+.1f} dBFS: "
                "--subtype FLOAT avoids this"
            )
    return notes

"""``attention``: where a model's attention looks, and which window would hold it."""

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from wsa_lightning import checkpoints
from wsa_lightning.commands.device import find_device
from wsa_lightning.errors import UserError, first_line, is_out_of_memory
from wsa_lightning.locality import measure
from wsa_lightning.locality.findings import config_lines, summary_table, write_report
from wsa_lightning.models import RoformerConfig
from wsa_lightning.ranges import PositiveFloat
from wsa_lightning.separation.audio import open_audio
from wsa_lightning.separation.inputs import find_songs
from wsa_lightning.separation.outputs import check_out
from wsa_lightning.separation.resampling import resampled, to_groups


def attention(
    songs: list[Path],
    *,
    checkpoint: str = "small-teacher",
    config: Path | None = None,
    out: Path = Path("attention"),
    seconds: PositiveFloat | Literal["all"] | None = None,
    device: str = "auto",
) -> None:
    """Show how local a model's attention is: curves and maps of every head, and the windows that would hold it.

    Args:
        songs: audio files, and folders of them; of a folder with a mixture, such as MUSDB's, the mixture alone.
        checkpoint: small, small-teacher, or any model file, ours or public.
        config: the YAML beside a public model file.
        out: folder for attention.json, curves, maps and heads (.png, .svg) and tensorboard/.
        seconds: length of the excerpt from the middle of each song, by default that of the chunks the model was trained
            on; all is the whole song.
        device: auto, cpu, cuda, cuda:1, mps.
    """
    if seconds == "all":
        seconds = math.inf
    on = find_device(device)
    found, problems = find_songs(songs, out)
    if problems or not found:
        raise UserError("; ".join(problems))
    check_out(out)
    paths = mixtures_alone([song.path for song in found], given=songs)
    if passed_over := len(found) - len(paths):
        print(f"{passed_over} stems beside a mixture passed over")
    model = checkpoints.load(checkpoint, config=config).to(on)
    seconds = model.config.chunk_seconds if seconds is None else seconds
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("songs", total=len(paths))
        excerpts = (excerpt(path, model.config, seconds) for path in paths)
        try:
            statistics = measure(model, excerpts, progress=lambda: progress.advance(task))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            song = paths[int(progress.tasks[task].completed)]
            remedy = "give fewer --seconds" + ("" if on.type == "cpu" else ", or --device cpu")
            raise UserError(f"{song}: out of memory on {on} ({first_line(error)}): {remedy}") from None
    about = {
        "checkpoint": checkpoint,
        "songs": [str(path) for path in paths],
        "seconds": seconds if math.isfinite(seconds) else None,
    }
    write_report(statistics, out, about)
    console = Console()
    console.print(summary_table(statistics))
    console.print("\nThe smallest windows that hold that share of every layer's attention, as options of fit:")
    for line in config_lines(statistics, model.config):
        console.print(f"  {line}", soft_wrap=True, markup=False, highlight=False)
    console.print(f"\nwrote {out}/attention.json, curves, maps and heads (.png, .svg), tensorboard/", soft_wrap=True)


def mixtures_alone(found: Sequence[Path], given: Sequence[Path]) -> list[Path]:
    """Files without the stems that lie beside a mixture, as in MUSDB's folders; a file given by name always stays."""
    with_mixture = {path.parent for path in found if path.stem == "mixture"}
    return [path for path in found if path in given or path.parent not in with_mixture or path.stem == "mixture"]


def excerpt(path: Path, config: RoformerConfig, seconds: float) -> Tensor:
    """The middle of a song at the model's rate, (C, N), or all of it; of more than C channels the first C.

    No more of the song than that is ever held.
    """
    try:
        with open_audio(path) as audio:
            length = math.ceil(min(audio.samples, seconds * audio.sample_rate))
            start = (audio.samples - length) // 2
            # Of MPEG-4 the number of samples is a guess, so the whole of it has no end here.
            middle = stretch(audio.pieces, start, length if length < audio.samples else math.inf)
            pieces = list(resampled(middle, audio.channels, audio.sample_rate, config.sample_rate))
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    song = to_groups(np.concatenate(pieces), config.channels)[0]  # (C, N)
    if not torch.isfinite(song).all():
        raise UserError(f"{path}: holds NaN or infinity, expected finite audio: export it again")
    return song[:, : round(min(song.shape[-1], seconds * config.sample_rate))]


def stretch(pieces: Iterable[NDArray[np.float32]], start: int, length: float) -> Iterator[NDArray[np.float32]]:
    """Of pieces (any, channels) the ``length`` samples from ``start`` on; what follows is not read."""
    at = 0
    for piece in pieces:
        low, high = max(0, start - at), min(len(piece), start + length - at)
        if low < high:
            yield piece[low : int(high)]
        at += len(piece)
        if at >= start + length:
            return

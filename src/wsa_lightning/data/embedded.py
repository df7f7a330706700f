"""The embedded dataset: composed pieces as tracks in the MUSDB18-HQ layout, made on first use."""

import json
import multiprocessing
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.progress import track

from wsa_lightning.atomic import write_json
from wsa_lightning.composer import RATE, VERSION, compose, title
from wsa_lightning.data.folders import is_track, remove_partial_tracks, write_track
from wsa_lightning.errors import UserError
from wsa_lightning.machine import CACHE_VARIABLE, cache_folder, usable_cores

TRAIN_TRACKS = 56
TEST_TRACKS = 8
SECONDS = 12.0
SEED = 0

RECIPE = "songs.json"

Recipe = dict[str, float]
T = TypeVar("T")


def embedded_root(cache: Path | None = None) -> Path:
    """The default dataset; making it takes well under a minute, once.

    Args:
        cache: where to keep it; None is ``machine.cache_folder()``.

    Returns:
        A folder with ``train`` and ``test``, see ``make_tracks``.

    Raises:
        UserError: the folder holds something else, or cannot be made.
    """
    root = (cache or cache_folder()) / f"songs-v{VERSION}"
    make_tracks(root, train=TRAIN_TRACKS, test=TEST_TRACKS, seconds=SECONDS, seed=SEED)
    return root


def make_tracks(root: Path, *, train: int, test: int, seconds: float, seed: int, workers: int | None = None) -> None:
    """Compose pieces and write them as ``root/{train,test}/TITLE/{mixture,drums,bass,other,vocals}.wav``.

    A call that was stopped is resumed by the next one, and several processes may fill the same folder at once.
    ``root/songs.json`` holds the arguments; it marks the folder as one made here.

    Args:
        root: the folder to fill; absent, empty, or begun by a call with the same arguments.
        train: pieces to train on, indices 0 to train - 1.
        test: pieces to test on, indices from train on.
        seconds: length of each piece.
        seed: of the collection.
        workers: processes; None is one per usable core.

    Raises:
        UserError: the folder holds other files, or pieces made with other arguments, or cannot be made.
    """
    recipe: Recipe = {"version": VERSION, "seed": seed, "seconds": seconds, "train": train, "test": test}
    _claim(root, recipe)
    folders = [root / ("train" if i < train else "test") / title(seed, i) for i in range(train + test)]
    missing = [(folder, i) for i, folder in enumerate(folders) if not is_track(folder)]
    written = _write_each(missing, seed, seconds, workers or usable_cores()) if missing else ()
    for _ in counted(written, "composing pieces", len(missing)):
        pass
    remove_partial_tracks(root)


def counted(items: Iterable[T], what: str, total: int) -> Iterable[T]:
    """The items, with a bar on standard error if there are any."""
    return track(items, what, total, console=Console(stderr=True), disable=not total)


def _claim(root: Path, recipe: Recipe) -> None:
    """Mark the folder as ours, or check that it is."""
    if root.exists() and not root.is_dir():
        raise UserError(f"{root} is a file; name a folder for the tracks")
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{root} cannot be made ({error.strerror}); name another folder, or set {CACHE_VARIABLE} to one"
        ) from error
    present = {path.name for path in root.iterdir() if not path.name.startswith(".")}
    if RECIPE in present:
        found = _read_recipe(root / RECIPE)
        if found != recipe:
            raise UserError(
                f"{root} holds tracks made with {found}, not with {recipe}; name another folder, or delete it"
            )
    elif present:
        raise UserError(
            f"{root} holds {', '.join(sorted(present)[:3])} and no {RECIPE}, so it was not made here; "
            "name another folder, or move its files away"
        )
    else:
        write_json(root / RECIPE, recipe)


def _read_recipe(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return f"a {path.name} that is not JSON"


def _write_each(missing: list[tuple[Path, int]], seed: int, seconds: float, workers: int) -> Iterator[None]:
    """Write the missing tracks in parallel, and yield after each."""
    if workers == 1 or len(missing) == 1:
        for folder, index in missing:
            write_piece(folder, seed, index, seconds)
            yield
        return
    # A forked child of a process that has started threads (torch, CUDA) may hang; a spawned one does not.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(workers, len(missing)), mp_context=context)
    try:
        futures = [pool.submit(write_piece, folder, seed, index, seconds) for folder, index in missing]
        for future in as_completed(futures):
            future.result()
            yield
    finally:
        pool.shutdown(cancel_futures=True)


def write_piece(folder: Path, seed: int, index: int, seconds: float) -> None:
    """Compose a piece and write it as a track, unless the folder holds one already.

    Raises:
        UserError: the folder exists and is not a track.
    """
    if not is_track(folder):
        write_track(folder, compose(seed, index, seconds), RATE)

"""The embedded dataset: a folder of songs in the layout of MUSDB18-HQ, made on first use."""

import json
import multiprocessing
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import platformdirs
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from wsa_lightning.atomic import write_json
from wsa_lightning.data.songs.files import PARTIAL, is_song, song_name, write_song
from wsa_lightning.errors import UserError

TRAIN_SONGS = 56
TEST_SONGS = 8
SECONDS = 12.0
SEED = 0
VERSION = 1  # raise it with any change to what `compose` returns

CACHE_VARIABLE = "WSA_LIGHTNING_CACHE"
FINISHED = "songs.json"
STARTED = "songs.started.json"

Recipe = dict[str, float]


def embedded_root(cache: Path | None = None) -> Path:
    """The default dataset, which is made on first use in well under a minute.

    Args:
        cache: where to keep it; else the environment variable WSA_LIGHTNING_CACHE; else the user's cache.

    Returns:
        A folder with `train` and `test`, as `make_songs` leaves it.

    Raises:
        UserError: the folder holds something else.
    """
    root = cache_folder(cache) / f"songs-v{VERSION}"
    make_songs(root, train=TRAIN_SONGS, test=TEST_SONGS, seconds=SECONDS, seed=SEED)
    return root


def cache_folder(cache: Path | None = None) -> Path:
    """`cache`; else the environment variable WSA_LIGHTNING_CACHE; else the user's cache folder."""
    return cache or Path(os.environ.get(CACHE_VARIABLE) or platformdirs.user_cache_dir("wsa-lightning"))


def make_songs(root: Path, *, train: int, test: int, seconds: float, seed: int, workers: int | None = None) -> None:
    """Write songs as `root/{train,test}/NAME/{mixture,drums,bass,other,vocals}.wav`.

    A call that was cut off is taken up again where it stopped, and several processes may make the same
    folder at once. `root/songs.json` is written last, so that its presence means that all songs are there.

    Args:
        root: the folder to fill; it may be absent or empty, or come from an earlier call like this one.
        train: songs to train on, indices 0 to train - 1.
        test: songs held out, indices from train on.
        seconds: length of each song.
        seed: the collection.
        workers: processes; as many as there are usable cores if None.

    Raises:
        UserError: the folder holds other files, or songs of another recipe.
    """
    recipe: Recipe = {"version": VERSION, "seed": seed, "seconds": seconds, "train": train, "test": test}
    _claim(root, recipe)
    names = [song_name(seed, index) for index in range(train + test)]
    folders = [root / ("train" if i < train else "test") / name for i, name in enumerate(names)]
    missing = [(folder, i) for i, folder in enumerate(folders) if not is_song(folder)]
    if missing or not is_complete(root):
        _write_all(missing, seed, seconds, workers or usable_cores())
        _sweep(root)
        write_json(root / FINISHED, recipe)
        (root / STARTED).unlink(missing_ok=True)


def is_complete(root: Path) -> bool:
    """Whether `make_songs` has finished in this folder."""
    return (root / FINISHED).is_file()


def _claim(root: Path, recipe: Recipe) -> None:
    """Mark the folder as ours, or find it so."""
    if root.exists() and not root.is_dir():
        raise UserError(f"{root} is a file; name a folder for the songs")
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{root} cannot be made ({error.strerror}); name another folder, or set {CACHE_VARIABLE} to one"
        ) from error
    present = {path.name for path in root.iterdir() if not path.name.startswith(".")}
    for marker in (FINISHED, STARTED):
        if marker in present:
            _require_same_recipe(root, _read_recipe(root, marker), recipe)
            return
    if present:
        raise UserError(
            f"{root} holds {', '.join(sorted(present)[:3])} and no {FINISHED}, so it was not made here; "
            "name another folder, or move its files away"
        )
    write_json(root / STARTED, recipe)


def _read_recipe(root: Path, marker: str) -> object:
    """The recipe in a marker file; a run beside this one may just have turned STARTED into FINISHED."""
    for name in (marker, FINISHED):
        try:
            return json.loads((root / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            continue
        except ValueError:
            return f"a {name} that is not JSON"
    return None


def _require_same_recipe(root: Path, found: object, recipe: Recipe) -> None:
    if found != recipe:
        raise UserError(f"{root} holds songs made as {found}, not as {recipe}; name another folder, or delete it")


def _write_all(missing: list[tuple[Path, int]], seed: int, seconds: float, workers: int) -> None:
    """Write the missing songs in parallel, with a progress bar on standard error."""
    if not missing:
        return
    bar = Progress(
        TextColumn("composing songs"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    with bar:
        for _ in bar.track(_each_written(missing, seed, seconds, workers), total=len(missing)):
            pass


def _each_written(missing: list[tuple[Path, int]], seed: int, seconds: float, workers: int) -> Iterator[None]:
    """Write songs, and yield after each."""
    if workers == 1 or len(missing) == 1:
        for folder, index in missing:
            write_song(folder, seed, index, seconds)
            yield
        return
    # A forked child of a process that has started threads (torch, CUDA) may hang; a spawned one does not.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(workers, len(missing)), mp_context=context)
    try:
        futures = [pool.submit(write_song, folder, seed, index, seconds) for folder, index in missing]
        for future in as_completed(futures):
            future.result()
            yield
    finally:
        pool.shutdown(cancel_futures=True)


def usable_cores() -> int:
    """Cores this process may use, which a container or a batch system may have cut down."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _sweep(root: Path) -> None:
    """Remove what killed runs left; a run that still writes there finds its song finished, and goes on."""
    for partial in root.glob(f"*/{PARTIAL}*"):
        shutil.rmtree(partial, ignore_errors=True)

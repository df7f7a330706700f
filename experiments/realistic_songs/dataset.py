"""The whole set: a folder in the layout of MUSDB18-HQ, made song by song, taken up again where it was cut off."""

import json
import multiprocessing
import shutil
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import soundfile

from wsa_lightning.atomic import write_json
from wsa_lightning.data.splits import validation_names
from wsa_lightning.errors import UserError

from .composer import RATE, STEMS, title
from .sources import Pool, check_sources

VERSION = 1  # raise it with any change to what a song contains
RECIPE = "songs.json"
FILES = tuple(f"{name}.wav" for name in ("mixture", *STEMS))
PARTIAL = ".partial-"


@dataclass(frozen=True)
class Task:
    """One song to make."""

    folder: Path
    seed: int
    index: int
    pool: Pool
    seconds: float


def plan_set(root: Path, train: int, test: int, seconds: float, seed: int) -> list[Task]:
    """All songs of a set.

    Of those in `root/train`, the ones that training will validate on form a pool of their own; they are known before
    any song exists, because they are chosen by name.
    """
    names = [title(seed, index) for index in range(train + test)]
    valid = validation_names(names[:train]) if train else frozenset()
    tasks = []
    for index, name in enumerate(names):
        pool: Pool = "test" if index >= train else "valid" if name in valid else "train"
        folder = root / ("test" if pool == "test" else "train") / name
        tasks.append(Task(folder, seed, index, pool, seconds))
    return tasks


def make_set(root: Path, *, train: int, test: int, seconds: float, seed: int, processes: int) -> int:
    """Write the songs that are missing, and print a line for each.

    Args:
        root: the folder to fill; absent, empty, or filled by an earlier call with the same settings.
        train: songs in `root/train`, a seventh of which validate.
        test: songs in `root/test`.
        seconds: length of a song.
        seed: the collection.
        processes: how many songs are made at once.

    Returns:
        How many songs failed.

    Raises:
        UserError: a package is missing, or the folder holds something else.
    """
    check_sources()
    recipe = {"version": VERSION, "seed": seed, "seconds": seconds, "train": train, "test": test}
    _claim(root, recipe)
    tasks = plan_set(root, train, test, seconds, seed)
    missing = [task for task in tasks if not is_song(task.folder)]
    print(f"{root}: {len(tasks) - len(missing)} of {len(tasks)} songs are there", flush=True)
    began, failed = time.monotonic(), 0
    for done, (task, error) in enumerate(_each_made(missing, processes), start=1):
        failed += error is not None
        each = (time.monotonic() - began) / done
        left = round(each * (len(missing) - done) / 60)
        result = f"failed: {error!r}" if error else "made"
        print(f"{done}/{len(missing)} {task.folder.name} ({task.pool}) {result}; "
              f"{each:.1f} s a song, {left // 60} h {left % 60:02d} min left", flush=True)  # fmt: skip
    for partial in root.glob(f"*/{PARTIAL}*"):
        shutil.rmtree(partial, ignore_errors=True)
    return failed


def is_song(folder: Path) -> bool:
    """Whether a folder holds all five files; songs are written atomically."""
    return all((folder / name).is_file() for name in FILES)


def write_song(task: Task) -> None:
    """Make a song and write it beside its folder, then rename; a finished song is left as it is."""
    from .song import make_song  # the synthesizers are loaded in the worker processes alone

    if is_song(task.folder):
        return
    task.folder.parent.mkdir(parents=True, exist_ok=True)
    audio, recipe = make_song(task.seed, task.index, task.pool, task.seconds)
    partial = Path(tempfile.mkdtemp(prefix=PARTIAL, dir=task.folder.parent))
    try:
        for name, samples in audio.items():
            soundfile.write(partial / f"{name}.wav", samples, RATE, subtype="PCM_16")
        write_json(partial / "recipe.json", {"pool": task.pool, **recipe})
        partial.chmod(0o755)  # mkdtemp keeps others out
        partial.rename(task.folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _claim(root: Path, recipe: dict[str, float]) -> None:
    """Mark the folder as ours, or find it so."""
    root.mkdir(parents=True, exist_ok=True)
    marker = root / RECIPE
    if marker.is_file():
        found = json.loads(marker.read_text(encoding="utf-8"))
        if found != recipe:
            raise UserError(f"{root} holds songs made as {found}, not as {recipe}; name another folder, or delete it")
        return
    if any(root.iterdir()):
        raise UserError(f"{root} is not empty and has no {RECIPE}; name another folder")
    write_json(marker, recipe)


def _each_made(tasks: list[Task], processes: int) -> Iterator[tuple[Task, BaseException | None]]:
    """Make songs in parallel, and yield each with the error that it ended with."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        futures: dict[Future[None], Task] = {pool.submit(write_song, task): task for task in tasks}
        for future in as_completed(futures):
            yield futures[future], future.exception()

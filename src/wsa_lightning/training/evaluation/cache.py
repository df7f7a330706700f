"""The teacher's scores, kept between runs: a sweep of 24 students scores its teacher once."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import wsa_lightning
from wsa_lightning.atomic import write_json
from wsa_lightning.training.data_protocol import TrackInfo

FOLDER = "teacher-scores"
_ROOMS = ("attention", "models", "checkpoints", "separation", "metrics", "data/tracks")
"""The code that a score depends on."""

Scores = dict[str, list[float]]


class TeacherScores:
    """A folder of scores, one small JSON file a song, named by the hash of everything the scores depend on.

    Args:
        folder: the cache folder.
        recipe: what the scores of all songs depend on besides the code: the teacher's file and config, the
            separation's options, precision, device, metrics.
    """

    def __init__(self, folder: Path, recipe: Mapping[str, Any]) -> None:
        self.folder = folder / FOLDER
        self.recipe = json.dumps({**recipe, "code": code_hash()}, sort_keys=True, default=str)

    def get(self, track: TrackInfo, names: Sequence[str]) -> Scores | None:
        """The scores of a song, if they are here and whole."""
        if track.fingerprint is None:
            return None
        try:
            found = json.loads(self._path(track).read_text(encoding="utf-8"))
            return {name: [float(value) for value in found[name]] for name in names}
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def put(self, track: TrackInfo, scores: Mapping[str, Sequence[float]]) -> None:
        """Keep the scores of a song; a cache that cannot be written is no cache, and no error."""
        if track.fingerprint is None:
            return
        with suppress(OSError):
            write_json(self._path(track), scores, durable=False)

    def _path(self, track: TrackInfo) -> Path:
        return self.folder / f"{hashlib.sha256(f'{self.recipe} {track.fingerprint}'.encode()).hexdigest()}.json"


@lru_cache(maxsize=1)
def code_hash() -> str:
    """SHA-256 of the source files that a score depends on."""
    package = Path(str(wsa_lightning.__file__)).parent
    digest = hashlib.sha256()
    for room in _ROOMS:
        for path in sorted([*package.glob(f"{room}.py"), *package.glob(f"{room}/**/*.py")]):
            digest.update(path.read_bytes())
    return digest.hexdigest()

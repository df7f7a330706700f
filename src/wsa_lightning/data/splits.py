"""The division of a dataset into training, validation and test tracks."""

import hashlib
from importlib import metadata
from pathlib import Path
from typing import Literal, get_args

import yaml

from wsa_lightning.data.tracks import Track, find_tracks
from wsa_lightning.errors import UserError

SplitName = Literal["train", "valid", "test"]


def split(
    root: Path, name: SplitName, sample_rate: int = 44100, *, refused: dict[str, str] | None = None
) -> list[Track]:
    """The tracks of one split of a MUSDB18-HQ tree, sorted by name.

    ``test`` is the ``test`` folder. The ``train`` folder is divided by the official list of 14 validation
    tracks if it holds at least one of them and at least one other track. Otherwise the division is ours and
    depends only on the names: of n tracks, sorted by the SHA-1 of their names, the first max(1, round(n / 7))
    validate and the rest train. ``refused`` receives unusable tracks of ``test``, see ``find_tracks``.

    Raises:
        UserError: no such split, fewer than two tracks to divide, or ``find_tracks`` refuses the tree.
    """
    if name not in get_args(SplitName):
        raise UserError(f"unknown split {name!r}; known splits: {', '.join(get_args(SplitName))}")
    if name == "test":
        return find_tracks(root, "test", sample_rate, refused=refused)
    tracks = find_tracks(root, "train", sample_rate)
    if len(tracks) < 2:
        raise UserError(
            f"{root / 'train'}: 1 track ({tracks[0].name}), expected at least 2, one to train and one to "
            "validate; add tracks"
        )
    valid = validation_names([track.name for track in tracks])
    return [track for track in tracks if (track.name in valid) == (name == "valid")]


def official_validation_names() -> frozenset[str]:
    """The names of MUSDB18's 14 validation tracks, as the musdb package lists them.

    The list is read from the installed files, because importing musdb needs ffmpeg.

    Raises:
        UserError: musdb is not installed, or no longer contains the list.
    """
    try:
        files = metadata.files("musdb") or []
    except metadata.PackageNotFoundError as error:
        raise UserError("musdb is not installed, which has the list of validation tracks; pip install musdb") from error
    listed = next((file for file in files if file.name == "mus.yaml"), None)
    if listed is None:
        raise UserError("mus.yaml is missing from the installed musdb; pip install --force-reinstall musdb")
    return frozenset(yaml.safe_load(listed.read_text(encoding="utf-8"))["validation_tracks"])


def validation_names(names: list[str]) -> frozenset[str]:
    """Which songs of a ``train`` folder validate, see ``split``."""
    official = official_validation_names().intersection(names)
    if 0 < len(official) < len(names):
        return official
    by_hash = sorted(names, key=lambda name: hashlib.sha1(name.encode(), usedforsecurity=False).digest())
    return frozenset(by_hash[: max(1, round(len(names) / 7))])

"""What this machine offers: the cores that this process may use, and the user's cache folder."""

import os
from pathlib import Path

import platformdirs

CACHE_VARIABLE = "WSA_LIGHTNING_CACHE"


def usable_cores() -> int:
    """The cores that this process may use; a container or a batch system may allow fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cache_folder() -> Path:
    """The folder for files that can be made again: ``$WSA_LIGHTNING_CACHE``, or the user's cache folder if unset."""
    return Path(os.environ.get(CACHE_VARIABLE) or platformdirs.user_cache_dir("wsa-lightning"))

"""Tracks that become unreadable while a run goes on: skipped with a warning, up to a limit."""

import logging
from collections.abc import Sequence

import torch

from wsa_lightning.data.tracks import Track, UnreadableError
from wsa_lightning.errors import UserError

_log = logging.getLogger(__name__)


class UnreadableTracks:
    """Counts the tracks of a dataset that could not be read, over all worker processes of this rank.

    Args:
        tracks: of the dataset.
        limit: how many of them may be unreadable.
    """

    def __init__(self, tracks: Sequence[Track], limit: int) -> None:
        self.tracks = tracks
        self.limit = limit
        # Workers are forked or spawned with the dataset, and share this memory.
        self._seen = torch.zeros(len(tracks), dtype=torch.bool).share_memory_()

    def __len__(self) -> int:
        return int(self._seen.sum())

    def report(self, index: int, error: UnreadableError) -> None:
        """Count a track, and log a warning the first time.

        Raises:
            UserError: more tracks than the limit, or all of them, are unreadable. It is not an UnreadableError, so
                the chunk is not drawn again.
        """
        new = not self._seen[index]
        self._seen[index] = True
        count, tracks = len(self), len(self.tracks)
        if count > self.limit or count == tracks:
            raise UserError(f"{error} ({count} of {tracks} tracks unreadable, data.max_unreadable is {self.limit})")
        if new:
            _log.warning("%s; this track is skipped (%d of at most %d)", error, count, self.limit)

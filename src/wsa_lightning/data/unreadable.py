"""Songs that can no longer be read while a run goes on: skipped with a warning, up to a limit."""

import logging
from collections.abc import Sequence

import torch

from wsa_lightning.data.tracks import Track, UnreadableError
from wsa_lightning.errors import UserError

_log = logging.getLogger(__name__)


class UnreadableSongs:
    """Counts the songs of a dataset that could not be read, over all worker processes of this rank.

    Args:
        tracks: the dataset's songs.
        limit: how many of them may be unreadable; 0 tolerates none.
    """

    def __init__(self, tracks: Sequence[Track], limit: int) -> None:
        self.tracks = tracks
        self.limit = limit
        # Workers are forked or spawned with the dataset, and share this memory.
        self._seen = torch.zeros(len(tracks), dtype=torch.bool).share_memory_()

    def __len__(self) -> int:
        return int(self._seen.sum())

    def report(self, number: int, error: UnreadableError) -> None:
        """Count a song, and warn of it the first time.

        Raises:
            UserError: more songs than the limit, or all of them, are unreadable. Not an UnreadableError, which is
                drawn around.
        """
        new = not self._seen[number]
        self._seen[number] = True
        count, songs = len(self), len(self.tracks)
        if count > self.limit or count == songs:
            raise UserError(f"{error} ({count} of {songs} songs unreadable, data.max_unreadable is {self.limit})")
        if new:
            _log.warning("%s; this song is skipped (%d of at most %d)", error, count, self.limit)

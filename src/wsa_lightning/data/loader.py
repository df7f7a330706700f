"""A DataLoader that measures how long its consumer waits."""

import time
from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader


class TimedLoader(DataLoader[Any]):
    """A DataLoader; ``waited`` is the time in seconds that its consumer has spent waiting for batches."""

    waited = 0.0

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        batches = super().__iter__()
        while True:
            start = time.perf_counter()
            try:
                batch = next(batches)
            except StopIteration:
                return
            finally:
                self.waited += time.perf_counter() - start
            yield batch

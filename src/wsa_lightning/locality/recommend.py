"""From what a teacher looks at to the window its student should have."""

from collections.abc import Iterable

from torch import Tensor

from wsa_lightning.errors import UserError
from wsa_lightning.locality.measure import HeadStatistics

SHARES = (0.90, 0.95, 0.99)


def recommended_window(statistics: HeadStatistics, share: float) -> int:
    """The smallest window, in frames, that holds ``share`` of the attention, averaged over the heads.

    A window of w frames reaches w // 2 frames to each side, so windows are even; 1 is the frame itself alone.

    Raises:
        UserError: a share outside (0, 1].
    """
    if not 0 < share <= 1:
        raise UserError(f"share is {share}: expected more than 0 and at most 1")
    return _holding(statistics.within.mean(0), share)


def even_window(statistics: HeadStatistics, share: float) -> int:
    """The window that would hold ``share`` if the same queries looked at all frames alike: 1.37 of them for 90 %."""
    return _holding(statistics.even, share)


def _holding(within: Tensor, share: float) -> int:
    """The smallest window in which ``within``, the share within +-k frames, (frames,), reaches ``share``."""
    # A student's sinks take a part that no frame can hold; and a sum of many small numbers may fall just short of 1.
    reachable = float(within[-1])
    reach = int((within < share * reachable - 1e-9).sum())
    return max(1, 2 * reach)


def recommended_windows(statistics: Iterable[HeadStatistics], share: float) -> list[int]:
    """A window for each layer's time attention; of several blocks in a layer, the widest."""
    windows: dict[int, int] = {}
    for entry in statistics:
        if entry.axis == "time":
            windows[entry.layer] = max(windows.get(entry.layer, 1), recommended_window(entry, share))
    return [windows[layer] for layer in sorted(windows)]

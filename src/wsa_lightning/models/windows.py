"""The windows of all layers, in the one form they are written in: a number for all of them, else a list."""

from collections.abc import Sequence

from wsa_lightning.attention import check_pattern
from wsa_lightning.errors import UserError

Window = int | Sequence[int | None] | None
"""Width of the time attention in frames: one for all layers, or a list of one a layer; None is full attention."""


def normal_window(window: Window, depth: int) -> int | tuple[int | None, ...] | None:
    """The window of ``depth`` layers as a config holds it: a list whose windows are all alike is that one window.

    Raises:
        UserError: neither an integer nor None nor a list of them; a window below 1; a list of another length.
    """
    if not isinstance(window, (list, tuple)):
        return _checked(window)
    for width in window:
        _checked(width)
    if len(window) != depth:
        raise UserError(
            f"window is {list(window)}, {len(window)} windows: expected {depth}, one a layer, or a single one for all"
        )
    return window[0] if len(set(window)) == 1 else tuple(window)


def describe_window(window: Window) -> str:
    """For tables and names: ``full``, ``10``, or ``4,16,full``."""
    if isinstance(window, (list, tuple)):
        return ",".join(map(describe_window, window))
    return "full" if window is None else str(window)


def _checked(width: object) -> int | None:
    if width is not None and (isinstance(width, bool) or not isinstance(width, int)):
        raise UserError(f"window is {width!r}: expected an integer, null, or a list of them, one a layer")
    check_pattern(width, 0)
    return width

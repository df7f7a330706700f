"""The windows and dilations of all layers, in the one form they are written in: a number for all, else a list."""

from collections.abc import Sequence

from wsa_lightning.attention import check_pattern
from wsa_lightning.errors import UserError

Window = int | Sequence[int | None] | None
"""Width of the time attention in frames: one for all layers, or a list of one a layer; None is full attention."""
MOST_DILATION = 1 << 20
Dilation = int | Sequence[int]
"""Frames from one key of a window to the next: one for all layers, or a list of one a layer; 1 is a plain window."""


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


def normal_dilation(dilation: Dilation, windows: Sequence[int | None]) -> int | tuple[int, ...]:
    """The dilation of layers with these windows as a config holds it: a list whose numbers are all alike is that one.

    Raises:
        UserError: neither an integer nor a list of them; one below 1, or more than 1 of a null window; a list of
            another length.
    """
    for step in dilation if isinstance(dilation, (list, tuple)) else [dilation]:
        if isinstance(step, bool) or not isinstance(step, int):
            raise UserError(f"dilation is {step!r}: expected an integer, or a list of them, one a layer")
        if step > MOST_DILATION:
            raise UserError(
                f"dilation is {step}: expected at most {MOST_DILATION}, hours of frames, or this is no model"
            )
    each = per_layer(dilation, len(windows))
    if len(each) != len(windows):
        raise UserError(
            f"dilation is {list(each)}, {len(each)} numbers: expected {len(windows)}, one a layer, or a single one for "
            "all"
        )
    for window, step in zip(windows, each, strict=True):
        check_pattern(window, 0, step)
    return each[0] if len(set(each)) == 1 else each


def per_layer(dilation: Dilation, depth: int) -> tuple[int, ...]:
    """One dilation a layer."""
    return (dilation,) * depth if isinstance(dilation, int) else tuple(dilation)


def describe_window(window: Window, dilation: Dilation = 1) -> str:
    """For tables and names: ``full``, ``10``, ``4,16,full``, or of a dilated window ``16/8``, ``4,16/8``."""
    if not isinstance(window, Sequence) and isinstance(dilation, int):
        return "full" if window is None else str(window) if dilation == 1 else f"{window}/{dilation}"
    depth = len(window if isinstance(window, Sequence) else dilation)  # type: ignore[arg-type]
    windows = window if isinstance(window, Sequence) else [window] * depth
    return ",".join(map(describe_window, windows, per_layer(dilation, depth)))


def describe_dilation(dilation: Dilation) -> int | str:
    """For columns of a table, beside a plain window: ``8``, or ``1,8``."""
    return dilation if isinstance(dilation, int) else ",".join(map(str, dilation))


def _checked(width: object) -> int | None:
    if width is not None and (isinstance(width, bool) or not isinstance(width, int)):
        raise UserError(f"window is {width!r}: expected an integer, null, or a list of them, one a layer")
    check_pattern(width, 0)
    return width

"""Numbers with a range, for options: jsonargparse refuses what lies outside, and names the option and the range.

A type checker sees plain numbers. At run time they are subclasses of ``int`` and ``float``, which a checkpoint, a file
of plain data, must not hold: see ``plain``.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    PositiveInt = int
    NonNegativeInt = int
    PositiveFloat = float
    NonNegativeFloat = float
    ClosedUnitInterval = float
else:
    from jsonargparse.typing import (
        ClosedUnitInterval,
        NonNegativeFloat,
        NonNegativeInt,
        PositiveFloat,
        PositiveInt,
    )


def plain(value: Any) -> Any:
    """The same number, or dictionary, list or tuple of numbers and other values, with plain numbers."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(plain(inner) for inner in value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return value
    return int(value) if isinstance(value, int) else float(value)


__all__ = ["ClosedUnitInterval", "NonNegativeFloat", "NonNegativeInt", "PositiveFloat", "PositiveInt", "plain"]

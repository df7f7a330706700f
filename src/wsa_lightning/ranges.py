"""Numbers with a range, for options: jsonargparse refuses what lies outside, and names the option and the range.

A type checker sees plain numbers, and so does the code that gets them.
"""

from typing import TYPE_CHECKING

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
        register_type,
    )

    def _register(kind):
        """Let jsonargparse return plain numbers: a checkpoint of plain data cannot hold instances of ``kind``."""
        base = kind.__base__
        register_type(kind, base, lambda value: base(kind(value)), fail_already_registered=False)

    for _kind in (PositiveInt, NonNegativeInt, PositiveFloat, NonNegativeFloat, ClosedUnitInterval):
        _register(_kind)

__all__ = ["ClosedUnitInterval", "NonNegativeFloat", "NonNegativeInt", "PositiveFloat", "PositiveInt"]

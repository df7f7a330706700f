"""Titles for pieces."""

import numpy as np

_WORDS = (
    # first words
    """Amber Borrowed Crooked Distant Electric Faded Gentle Hollow Idle Jagged Kindred Lonely Marble Northern
    Open Paper Quiet Restless Silver Tangled Upper Velvet Wandering Yellow""",
    # last words
    """Arrows Bridge Candle Harbour Distance Engine Ferry Garden Horizon Island Journey Kite Lantern Meadow
    Night Orchard Parade River Station Tide Umbrella Valley Window Year""",
)
_FIRST, _LAST = (words.split() for words in _WORDS)


def title(seed: int, index: int) -> str:
    """The title of a piece, such as "Song 000 - Quiet Harbour Lantern"; no two pieces of a collection share one."""
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, index, 1])))
    last = rng.choice(_LAST, size=int(rng.integers(1, 3)), replace=False)
    return f"Song {index:03d} - {' '.join([str(rng.choice(_FIRST)), *map(str, last)])}"

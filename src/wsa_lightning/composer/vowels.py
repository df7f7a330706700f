"""Formants of sung vowels, shared by the voice and by the instruments that resemble it."""

# Centre in Hz and level in dB of five formants of a tenor, from the table in the Csound manual (appendix D).
_TENOR: dict[str, tuple[tuple[float, float], ...]] = {
    "a": ((650, 0), (1080, -6), (2650, -7), (2900, -8), (3250, -22)),
    "e": ((400, 0), (1700, -14), (2600, -12), (3200, -14), (3580, -20)),
    "i": ((290, 0), (1870, -15), (2800, -18), (3250, -20), (3540, -30)),
    "o": ((400, 0), (800, -10), (2600, -12), (2800, -12), (3000, -26)),
    "u": ((350, 0), (600, -20), (2700, -17), (2900, -14), (3300, -26)),
    "nasal": ((260, -4), (1050, -22), (2200, -26), (2700, -28), (3300, -34)),
}
_WIDTHS = (80.0, 100.0, 130.0, 150.0, 200.0)


def formants(vowel: str, scale: float) -> list[tuple[float, float, float]]:
    """Centre (Hz), bandwidth (Hz) and gain of a vowel's five formants.

    Args:
        vowel: "a", "e", "i", "o", "u", or "nasal" for a hum.
        scale: 1 for a tenor's vocal tract; more for a shorter one, whose formants lie higher.
    """
    return [
        (centre * scale, width * scale, 10 ** (level / 20))
        for (centre, level), width in zip(_TENOR[vowel], _WIDTHS, strict=True)
    ]

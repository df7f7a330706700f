"""One style for all figures: light axes, and colours that colour-blind readers can distinguish."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
from cycler import cycler
from matplotlib.figure import Figure

PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""The colours of Okabe and Ito, readable on white and on black; the first two are for teacher and student."""


@contextlib.contextmanager
def style(dark: bool = False) -> Iterator[None]:
    """Figures made inside share fonts, grid and colours; ``dark`` draws in light colours for a dark page.

    The background is transparent if ``dark``, and white otherwise, because a PNG may be shown on any page.
    """
    ink, faint = ("#e6e6e6", "#4a4f57") if dark else ("#222222", "#d9d9d9")
    face = "none" if dark else "white"
    settings: Any = {
        "font.size": 10,
        "axes.titlesize": 10,
        "axes.titlelocation": "left",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.color": faint,
        "grid.linewidth": 0.6,
        "axes.axisbelow": True,
        "axes.prop_cycle": cycler(color=PALETTE),
        "legend.frameon": False,
        "lines.linewidth": 1.8,
        "svg.hashsalt": "wsa-lightning",
        "figure.facecolor": face,
        "axes.facecolor": face,
        "savefig.facecolor": face,
        **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color", "axes.edgecolor"), ink),
    }
    with mpl.rc_context(settings):
        yield


def save(figure: Figure, stem: Path) -> None:
    """Write ``stem`` + .png (160 dots per inch) and .svg; the same figure gives the same bytes."""
    figure.savefig(f"{stem}.png", dpi=160)
    figure.savefig(f"{stem}.svg", metadata={"Date": None})

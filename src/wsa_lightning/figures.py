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
def style() -> Iterator[None]:
    """Figures made inside share fonts, grid and colours, on white, because they may be shown on any page."""
    settings: Any = {
        "font.size": 10,
        "axes.titlesize": 10,
        "axes.titlelocation": "left",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.color": "#d9d9d9",
        "grid.linewidth": 0.6,
        "axes.axisbelow": True,
        "axes.prop_cycle": cycler(color=PALETTE),
        "legend.frameon": False,
        "lines.linewidth": 1.8,
        "svg.hashsalt": "wsa-lightning",
        "figure.facecolor": "white",
        "axes.facecolor": "white",
        "savefig.facecolor": "white",
        **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color", "axes.edgecolor"), "#222222"),
    }
    with mpl.rc_context(settings):
        yield


def save(figure: Figure, stem: Path) -> None:
    """Write ``stem`` + .png (160 dots per inch) and .svg; the same figure gives the same bytes."""
    figure.savefig(f"{stem}.png", dpi=160)
    figure.savefig(f"{stem}.svg", metadata={"Date": None})

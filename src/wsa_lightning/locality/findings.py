"""Output of the ``attention`` command: JSON, figures, TensorBoard events, and windows to choose from."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table
from torch.utils.tensorboard import SummaryWriter

from wsa_lightning import figures
from wsa_lightning.locality import HeadStatistics, recommended_windows
from wsa_lightning.locality.plots import attention_maps, head_overview, locality_curves, name_of
from wsa_lightning.locality.recommend import SHARES, even_window
from wsa_lightning.models import RoformerConfig
from wsa_lightning.results import results_folder


def write_report(statistics: Sequence[HeadStatistics], out: Path, about: dict[str, Any]) -> None:
    """Write ``attention.json``, three figures as PNG and SVG, and TensorBoard events into ``out``.

    Args:
        statistics: from ``locality.measure``.
        out: folder, created if it is missing.
        about: what was measured (checkpoint, songs, seconds), for the start of the JSON.

    Raises:
        UserError: ``out`` cannot be written.
    """
    windows = {f"{share:g}": recommended_windows(statistics, share) for share in SHARES}
    with figures.style():
        pictures = {
            "curves": locality_curves(statistics, shares=SHARES),
            "maps": attention_maps(statistics),
            "heads": head_overview(statistics),
        }
        with results_folder(out) as folder:
            for name, figure in pictures.items():
                figures.save(figure, folder / name)
            with SummaryWriter(str(folder / "tensorboard")) as writer:
                for name, figure in pictures.items():
                    writer.add_figure(f"attention/{name}", figure)
                for share, per_layer in windows.items():
                    for layer, window in enumerate(per_layer):
                        writer.add_scalar(f"attention/window_{share}", window, layer)
            document = {**about, "windows": windows, "attention": [entry.to_dict() for entry in statistics]}
            (folder / "attention.json").write_text(json.dumps(document) + "\n", encoding="utf-8")


def summary_table(statistics: Sequence[HeadStatistics]) -> Table:
    """One row per attention: shares nearby, on the first positions and on the sinks, and the window for each share."""
    table = Table(title="shares of the attention, averaged over heads, queries and songs", title_style="")
    table.add_column("")
    for column in ("within ±5", "±8", "±32", "first 8", "sinks", "looked at", *(f"window, {s:.0%}" for s in SHARES)):
        table.add_column(column, justify="right")
    for entry in statistics:
        held = entry.within.mean(0)
        near = [f"{float(held[min(reach, len(held) - 1)]):.3f}" for reach in (5, 8, 32)]
        first = f"{float(entry.first[:, min(7, entry.first.shape[1] - 1)].mean()):.3f}"
        sinks = f"{float(entry.sinks.mean()):.3f}"
        looked_at = f"{float(entry.entropy.exp().mean()):.0f} of {entry.positions:.0f}"
        windows = [str(recommended_windows([entry], share)[0]) if entry.axis == "time" else "" for share in SHARES]
        table.add_row(name_of(entry), *near, first, sinks, looked_at, *windows)
    return table


def config_lines(statistics: Sequence[HeadStatistics], config: RoformerConfig) -> list[str]:
    """Options for ``fit``: a window per layer or one for all layers, and the window that uniform attention would need.

    A windowed student is not compared with uniform attention, which it cannot have.
    """
    first = next(entry for entry in statistics if entry.axis == "time")
    is_full = all(pattern.window is None for pattern in config.patterns)
    lines = []
    for share in SHARES:
        windows = recommended_windows(statistics, share)
        own = f"--model.window '{windows}'   or, for all layers,  --model.window {max(windows)}"
        even = f"   (even attention: {even_window(first, share)})" if is_full else ""
        lines.append(f"{share:.0%}: {own}{even}")
    return lines

"""The report: one HTML file with tables, figures and the songs' audio, which loads nothing from the network."""

import base64
import hashlib
import io
import mimetypes
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import soundfile
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from wsa_lightning.comparison.boxes import boxes_figure, distributions
from wsa_lightning.comparison.columns import LABELS, Columns, metrics_and_cost, pattern_and_usdr
from wsa_lightning.comparison.curves import curves_figure
from wsa_lightning.comparison.groups import Comparison, Group
from wsa_lightning.comparison.pareto import pareto_figure
from wsa_lightning.results import decimals

REPORT_DEFINITIONS = {
    "GFLOP/s audio": "GFLOP per second of audio: linear layers, and attention over the pairs that the mask allows; 2 "
    "FLOPs per multiply-accumulate, without the STFT; for whole songs including the separation's overlap",
    "block / step": "seconds of a song that the model processes at once, and seconds from one such block to the next; "
    "the cost of full attention grows with the block",
    "time att.": "FLOPs of the model's time attention as a fraction of the teacher's, over the pairs that the mask "
    "allows",
    "to teacher": "mean over songs of the paired difference in uSDR, model minus teacher, with its 95 % bootstrap "
    "interval",
    "retained": "uSDR of the model / uSDR of its teacher, both in dB: a ratio of logarithms, as the paper reports it",
    "Pareto front": "models that no other model beats: none costs as little, scores as high, and is better in one of "
    "the two",
}


def html_report(comparison: Comparison) -> str:
    """The content of ``report.html``."""
    environment = Environment(
        loader=PackageLoader("wsa_lightning.comparison", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(
        groups=[_group(group) for group in comparison.groups],
        warnings=comparison.warnings(),
        created=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        own_definitions=REPORT_DEFINITIONS,
        labels=LABELS,
    )


def _group(group: Group) -> dict[str, Any]:
    """The variables of the template for one group."""
    known = group.protocol.definitions
    aggregations = {text["aggregation"] for text in known.values()}
    blocks = [model.blocks for model in group.models]
    models = {
        "run": [model.name for model in group.models],
        "front": ["★" if on else "" for on in group.front],
        **pattern_and_usdr(group),
        **metrics_and_cost(group, tuple(metric for metric in LABELS if metric != "usdr")),
        "block / step, s": ["" if seconds is None else "{:.3g} / {:.3g}".format(*seconds) for seconds in blocks],
    }
    songs = sorted({song for model in group.models for song in model.songs})
    scores = [(song, *(decimals(model.songs.get(song)) for model in group.models)) for song in songs]
    curves = [(run.name, run.curve) for run in group.runs if len(run.curve) > 1]
    return {
        "letter": group.letter,
        "title": group.title,
        "count": group.protocol.count,
        "models": _table(models),
        "definitions": {metric: known[metric] for metric in (*LABELS, *known) if metric in known},
        "aggregations": aggregations if len(aggregations) == 1 else (),
        "pareto": _svg_uri(pareto_figure(group)),
        "boxes": None if (boxes := boxes_figure(group)) is None else _svg_uri(boxes),
        "distributions": _table(distributions(group)),
        "curves": _svg_uri(curves_figure(curves)) if curves else None,
        "songs": (["song", *models["run"]], scores) if songs else None,
        "excerpts": {
            song: _excerpts(group, song) for song in sorted({song for run in group.runs for song in run.audio})
        },
    }


def _table(columns: Columns) -> tuple[list[str], list[tuple[str, ...]]]:
    """Headings and rows."""
    return list(columns), list(zip(*columns.values(), strict=True))


def _excerpts(group: Group, song: str) -> list[tuple[str, str, str]]:
    """Label, uSDR over the whole song and data URI of mixture, target and every model.

    Audio that several runs share appears once.
    """
    heard: set[tuple[str, str]] = set()
    excerpts = []
    for kind in ("mixture", "target", "teacher", "student", "model"):
        for run in group.runs:
            path = run.audio[song].get(kind) if song in run.audio else None
            if path is None:
                continue
            model = {"teacher": run.teacher, "student": run.model, "model": run.model}.get(kind)
            label = run.name if model is run.model else kind
            sound = _sound(path)
            if (label, sound) in heard:
                continue
            shown = f"{label} ({run.name})" if label in {known for known, _ in heard} else label
            heard.add((label, sound))
            uri = _data_uri(path.read_bytes(), mimetypes.guess_type(path.name)[0] or "audio/ogg")
            excerpts.append((shown, "" if model is None else decimals(model.songs.get(song)), uri))
    return excerpts


def _sound(path: Path) -> str:
    """A hash of the samples, because two encodings of the same audio differ in their serial numbers."""
    try:
        samples, rate = soundfile.read(path, dtype="int16")
    except soundfile.LibsndfileError:  # a format that browsers support and libsndfile does not
        return hashlib.sha256(path.read_bytes()).hexdigest()
    return hashlib.sha256(samples.tobytes() + str(rate).encode()).hexdigest()


def _svg_uri(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return _data_uri(buffer.getvalue(), "image/svg+xml")


def _data_uri(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"

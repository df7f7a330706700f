"""The report: one HTML file with tables, figures and the songs' audio, which loads nothing from the network."""

import base64
import hashlib
import io
import mimetypes
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import soundfile
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from wsa_lightning.comparison.boxes import boxes_figure, distributions
from wsa_lightning.comparison.curves import curves_figure
from wsa_lightning.comparison.groups import Comparison, Group
from wsa_lightning.comparison.pareto import pareto_figure
from wsa_lightning.comparison.runs import LABELS
from wsa_lightning.results import decimals, percent

REPORT_DEFINITIONS = {
    "GFLOP per second of audio": "linear layers, and attention over the pairs that the mask allows; 2 FLOPs per "
    "multiply-accumulate, without the STFT; for whole songs including the separation's overlap",
    "block / step": "seconds of a song that the model processes at once, and seconds from one such block to the next; "
    "the cost of full attention grows with the block",
    "time attention": "FLOPs of the model's time attention as a fraction of the teacher's, over the pairs that the mask allows",
    "to teacher": "mean over songs of the paired difference in uSDR, model minus teacher, with its 95 % bootstrap interval",
    "retained": "uSDR of the model / uSDR of its teacher, both in dB: a ratio of logarithms, as the paper reports it",
    "Pareto front": "models that no other model beats: none costs as little, scores as high, and is better in one of the two",
}


@dataclass(frozen=True)
class Excerpt:
    """An audio excerpt: what it is, its uSDR over the whole song, the audio as a data URI."""

    label: str
    usdr: float | None
    uri: str


def html_report(comparison: Comparison) -> str:
    """The content of ``report.html``."""
    environment = Environment(
        loader=PackageLoader("wsa_lightning.comparison", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "db": decimals,
        "percent": percent,
        "signed": lambda value: f"{value:+.2f}",
    }
    groups = [_group(group) for group in comparison.groups]
    return environment.get_template("report.html.j2").render(
        groups=groups,
        warnings=comparison.warnings(),
        created=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        own_definitions=REPORT_DEFINITIONS,
        labels=LABELS,
    )


def _group(group: Group) -> dict[str, Any]:
    """The variables of the template for one group."""
    known = group.protocol.metrics()
    aggregations = {text["aggregation"] for text in known.values()}
    scored = {metric for model in group.models for metric in model.scores}
    songs = sorted({song for model in group.models for song in model.songs})
    curves = [(run.name, run.curve) for run in group.runs if len(run.curve) > 1]
    return {
        "letter": group.letter,
        "title": group.title,
        "count": group.protocol.count,
        "models": list(zip(group.models, group.front, strict=True)),
        "metrics": [metric for metric in LABELS if metric in scored and metric != "usdr"],
        "definitions": {metric: known[metric] for metric in (*LABELS, *known) if metric in known},
        "aggregations": aggregations if len(aggregations) == 1 else (),
        "pareto": [_svg_uri(pareto_figure(group.panel._replace(title=""), dark=dark)) for dark in (False, True)],
        "boxes": [_svg_uri(figure) for dark in (False, True) if (figure := boxes_figure(group, dark=dark)) is not None],
        "distributions": distributions(group),
        "curves": curves and [_svg_uri(curves_figure(curves, dark=dark)) for dark in (False, True)],
        "songs": [(song, [model.songs.get(song) for model in group.models]) for song in songs],
        "excerpts": {song: excerpts for song in _excerpt_songs(group) if (excerpts := _excerpts(group, song))},
    }


def _excerpt_songs(group: Group) -> list[str]:
    return sorted({song for run in group.runs for song in (*run.references, *run.model.audio)})


def _excerpts(group: Group, song: str) -> list[Excerpt]:
    """Mixture and target, then every model; audio that several runs share appears once."""
    candidates: list[tuple[str, str, float | None, Path]] = [
        (kind, run.name, None, run.references[song][kind])
        for kind in ("mixture", "target")
        for run in group.runs
        if kind in run.references.get(song, {})
    ]
    made = [(run.name, "teacher", run.teacher) for run in group.runs if run.teacher is not None]
    made += [(run.name, run.name, run.model) for run in group.runs]
    candidates += [
        (label, run, model.songs.get(song), model.audio[song]) for run, label, model in made if song in model.audio
    ]
    return list(_distinct(candidates))


def _distinct(candidates: Iterable[tuple[str, str, float | None, Path]]) -> Iterable[Excerpt]:
    heard: dict[str, set[str]] = {}
    for label, run, usdr, path in candidates:
        sound = _sound(path)
        if sound in heard.setdefault(label, set()):
            continue
        shown = f"{label} ({run})" if heard[label] else label
        heard[label].add(sound)
        yield Excerpt(shown, usdr, _data_uri(path.read_bytes(), mimetypes.guess_type(path.name)[0] or "audio/ogg"))


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

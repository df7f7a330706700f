"""Folders as ``test`` leaves them, in its documented format, with tones instead of songs."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from wsa_lightning.models import Dilation, Window

UNITS = {"usdr": "dB", "csdr": "dB", "bleedless": "", "fullness": "", "leakage": "dB"}
DEFINITIONS = {
    metric: {"unit": unit, "better": "higher", "text": f"formula of {metric} <b>", "aggregation": "median over songs"}
    for metric, unit in UNITS.items()
}
SONGS = ("Almost Everything", "Bright <Sea>", "Cold & Warm")


def write_tested_run(
    folder: Path,
    *,
    window: Window = 16,
    sinks: int = 4,
    dilation: Dilation = 1,
    usdr: float = 9.0,
    gflops: float = 4.0,
    teacher_usdr: float = 10.0,
    teacher: str | None = "a" * 64,
    songs: tuple[str, ...] = SONGS,
    failed: tuple[str, ...] = (),
    audio: bool = False,
    trained: bool = True,
    **changes: Any,
) -> Path:
    """A run scored on whole songs; the teacher has 9 GFLOP a second."""
    models = {"student" if teacher else "model": (usdr, window, sinks, dilation, gflops)}
    if teacher:
        models["teacher"] = (teacher_usdr, None, 0, 1, 9.0)
    own = next(iter(models))
    values = {role: {song: level + place for place, song in enumerate(songs)} for role, (level, *_) in models.items()}
    (folder / "test").mkdir(parents=True)
    (folder / "config.yaml").write_text("seed_everything: 0\n")
    with (folder / "test" / "scores.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["song", "model", "stem", "seconds", *UNITS, "nan_frames", "error"])
        writer.writeheader()
        for role in models:
            for song in songs:
                row = {"song": song, "model": role, "stem": "vocals", "seconds": 12.5, "nan_frames": 0, "error": ""}
                writer.writerow(row | dict.fromkeys(UNITS, values[role][song]))
    scores: dict[str, Any] = {
        "version": 1, "created": "2026-01-01T00:00:00+00:00", "command": ["test"], "commit": None,
        "config": "config.test.yaml", "split": "test", "songs": len(songs),
        "failed": [{"song": song, "error": "too quiet"} for song in failed],
        "definitions": DEFINITIONS,
        "models": {
            role: {
                "checkpoint": f"{role}.safetensors" if trained or role == "teacher" else None,
                "sha256": teacher if role == "teacher" else "b" * 64,
                "window": role_window, "sinks": role_sinks, "dilation": role_dilation,
                "parameters": 1000,
                "scores": {
                    metric: {
                        "median": float(np.median(list(values[role].values()))),
                        "mean": float(np.mean(list(values[role].values()))), "n": len(songs),
                    }
                    for metric in UNITS
                },
                "flops": {
                    "seconds": 8.0, "total": flops * 4e9, "per_second_of_audio": flops * 1e9,
                    "time_attention": 6e9 if role_window is None else 2e8,
                },
            }
            for role, (_, role_window, role_sinks, role_dilation, flops) in models.items()
        },
        "separation": {
            role: {"block_seconds": 8.0, "step_seconds": 4.0}
            if role_window is None
            else {"block_seconds": 8.5, "step_seconds": 8.0}
            for role, (_, role_window, *_) in models.items()
        },
    }  # fmt: skip
    scores["models"][own]["scores"]["leakage"] = {"median": None, "mean": None, "n": 0}
    if teacher:
        gap = usdr - teacher_usdr
        scores["difference"] = {"usdr": {"mean": gap, "low": gap - 0.3, "high": gap + 0.2, "median": gap, "n": 3}}
        scores["retained"] = {"usdr": usdr / teacher_usdr}
    (folder / "test" / "scores.json").write_text(json.dumps(scores | changes))
    if audio:
        for song in songs:
            write_excerpts(folder / "test" / "audio" / song, own, usdr, bool(teacher))
    return folder


def write_excerpts(folder: Path, own: str, usdr: float, with_teacher: bool) -> None:
    """Half a second of tone a model, encoded as ``test`` encodes."""
    folder.mkdir(parents=True)
    time = np.arange(22050) / 44100
    pitches = {"mixture": 220.0, "target": 330.0, own: 300.0 + usdr} | ({"teacher": 329.0} if with_teacher else {})
    for name, pitch in pitches.items():
        tone = 0.3 * np.sin(2 * np.pi * pitch * time)
        soundfile.write(folder / f"{name}.ogg", np.stack((tone, tone), 1), 44100, format="OGG", subtype="VORBIS")

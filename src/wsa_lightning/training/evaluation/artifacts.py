"""``RUN/test``: made under another name and renamed when whole; ``scores.json`` in it says that the test finished."""

import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path

import soundfile
import torch
from torch import Tensor

from wsa_lightning.training.evaluation.outcome import Outcome

VERSION = 1
FOLDER = "test"
PARTIAL = ".test.partial"
REPLACED = ".test.replaced"


def begin(run: Path) -> Path:
    """An empty folder beside ``run/test`` to write into."""
    discard(run)
    folder = run / PARTIAL
    folder.mkdir(parents=True)
    return folder


def discard(run: Path) -> None:
    """Remove what an unfinished test left."""
    shutil.rmtree(run / PARTIAL, ignore_errors=True)


def finish(run: Path) -> Path:
    """Put what was written in the place of an earlier test's files."""
    target = run / FOLDER
    shutil.rmtree(run / REPLACED, ignore_errors=True)
    if target.exists():
        target.rename(run / REPLACED)
    (run / PARTIAL).rename(target)
    shutil.rmtree(run / REPLACED, ignore_errors=True)
    return target


def write_scores(folder: Path, outcome: Outcome, config: str | None) -> None:
    """``scores.csv``, then ``scores.json``."""
    with (folder / "scores.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, outcome.columns)
        writer.writeheader()
        writer.writerows(outcome.rows())
    content = {
        "version": VERSION,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": ["python", "-m", "wsa_lightning", *sys.argv[1:]],
        "commit": commit(),
        "config": config,
        "split": "test",
        **outcome.to_dict(),
    }
    plain = json.loads(json.dumps(content), parse_constant=lambda _: None)  # JSON has neither NaN nor infinity
    text = json.dumps(plain, indent=1, ensure_ascii=False)
    (folder / "scores.json").write_text(text + "\n", encoding="utf-8")


def write_excerpts(
    folder: Path, song: str, stems: tuple[str, ...], audio: Mapping[str, Tensor], rate: int, seconds: float
) -> None:
    """``audio/SONG/NAME.ogg``: the ``seconds`` of a song where the target is loudest, of every signal.

    Args:
        folder: the test's.
        song: name of the song.
        stems: names of the stems; with more than one, each has a folder ``SONG - STEM`` of its own.
        audio: ``mixture`` (C, N), ``target`` and every model's estimate (stems, C, N).
        rate: in Hz.
        seconds: length.
    """
    for number, stem in enumerate(stems):
        cut = loudest(audio["target"][number], round(seconds * rate))
        signals = {name: (signal if name == "mixture" else signal[number])[:, cut] for name, signal in audio.items()}
        gain = 1 / max(1.0, *(float(signal.abs().max()) for signal in signals.values()))  # one gain: levels compare
        place = folder / "audio" / (song if len(stems) == 1 else f"{song} - {stem}")
        place.mkdir(parents=True)
        for name, signal in signals.items():
            _write_ogg(place / f"{name}.ogg", gain * signal, rate)


def loudest(audio: Tensor, length: int) -> slice:
    """Where the ``length`` samples of most energy lie in (C, N), to a tenth of the length."""
    samples = audio.shape[-1]
    if samples <= length:
        return slice(0, samples)
    energy = torch.cat([audio.new_zeros(1).double(), audio.double().square().sum(0).cumsum(0)])  # (N + 1,)
    starts = torch.arange(0, samples - length + 1, max(1, length // 10))
    start = int(starts[(energy[starts + length] - energy[starts]).argmax()])
    return slice(start, start + length)


def _write_ogg(path: Path, audio: Tensor, rate: int) -> None:
    samples = audio.T.contiguous().numpy()
    with soundfile.SoundFile(path, "w", rate, samples.shape[1], format="OGG", subtype="VORBIS") as file:
        for first in range(0, len(samples), rate):  # libsndfile overruns its stack on long Vorbis writes
            file.write(samples[first : first + rate])


def commit() -> str | None:
    """The commit of the source tree this runs from, ``-dirty`` where it was changed; None when installed."""
    root = Path(__file__).resolve().parents[4]
    if not (root / ".git").exists():
        return None
    try:
        revision, status = (
            subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=True).stdout.strip()
            for words in (("rev-parse", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{revision}-dirty" if status else revision

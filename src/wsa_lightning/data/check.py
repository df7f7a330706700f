"""Reads every sample of a dataset, and reports what training would fail on or learn wrongly from."""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.ndimage import binary_opening

from wsa_lightning.data.tracks import SIGNALS, SOURCES, Subset, open_track
from wsa_lightning.errors import UserError

SUBSETS: tuple[Subset, ...] = ("train", "test")

_BLOCK = 1 << 18
_SILENT_PEAK = 1e-4
_FULL_SCALE = 32767 / 32768
_RUN = 3
_CLIPPED_SHARE = 1e-4
_RESIDUAL_DB = -20.0


@dataclass
class TrackReport:
    """What was found in one track.

    Attributes:
        name: ``train/NAME`` or ``test/NAME``.
        seconds: length.
        sample_rate: in Hz.
        silent: files without a sample above -80 dBFS.
        clipped: share of the mixture's samples in runs of 3 or more at full scale.
        residual_db: energy of (mixture - sum of the stems) relative to the mixture's, in dB; None if unknown.
        fingerprint: SHA-256 of the decoded files.
        errors: what prevents training or scoring on the track.
        warnings: what may be intended.
    """

    name: str
    seconds: float = 0.0
    sample_rate: int = 0
    silent: list[str] = field(default_factory=list)
    clipped: float = 0.0
    residual_db: float | None = None
    fingerprint: str = ""
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def track_folders(root: Path) -> list[Path]:
    """The track folders of a MUSDB18-HQ tree, train before test, and any other file among them.

    Raises:
        UserError: there is neither a train nor a test folder, or both are empty.
    """
    subsets = [root / subset for subset in SUBSETS if (root / subset).is_dir()]
    if not subsets:
        raise UserError(f"{root} has no train and no test folder: expected ROOT/{{train,test}}/TRACK/mixture.wav")
    folders = [entry for subset in subsets for entry in sorted(subset.iterdir()) if not entry.name.startswith(".")]
    if not folders:
        raise UserError(f"{root}: train and test are empty: expected ROOT/{{train,test}}/TRACK/mixture.wav")
    return folders


def check_each(folders: list[Path], sample_rate: int, workers: int) -> Iterator[TrackReport]:
    """Check tracks in parallel threads; a report per track, in the order of ``folders``.

    Args:
        folders: of the tracks.
        sample_rate: expected, in Hz.
        workers: threads; decoding and arithmetic release Python's lock.
    """
    with ThreadPoolExecutor(workers) as pool:
        yield from pool.map(lambda folder: check_track(folder, sample_rate), folders)


def check_track(folder: Path, sample_rate: int = 44100) -> TrackReport:
    """Check the headers, then every sample of the five files."""
    report = TrackReport(f"{folder.parent.name}/{folder.name}")
    if not folder.is_dir():
        kind = "a broken link or a link to itself" if folder.is_symlink() else "not a folder"
        report.errors.append(f"{folder} is {kind}: expected the folder of a track; remove it")
        return report
    try:
        track = open_track(folder, sample_rate)
    except (UserError, OSError) as error:
        report.errors.append(str(error))
        return report
    report.seconds, report.sample_rate = track.samples / sample_rate, sample_rate
    try:
        _measure(folder, track.samples, report)
    except (soundfile.LibsndfileError, OSError, ValueError) as error:
        report.errors.append(f"{folder} cannot be read to its end ({error}): copy it again")
    return report


def _measure(folder: Path, samples: int, report: TrackReport) -> None:
    """Fill in what is computed from the samples."""
    peaks = dict.fromkeys(SIGNALS, 0.0)
    finite = dict.fromkeys(SIGNALS, True)
    clipped, residual, energy, read = 0, 0.0, 0.0, 0
    digest = hashlib.sha256()
    for blocks in _blocks(folder):
        for name, block in blocks.items():
            finite[name] &= bool(np.isfinite(block).all())
            peaks[name] = max(peaks[name], float(np.abs(np.nan_to_num(block)).max(initial=0.0)))
            digest.update(block.tobytes())
        mixture = np.nan_to_num(blocks["mixture"].astype(np.float64))
        total = np.sum([np.nan_to_num(blocks[source]) for source in SOURCES], axis=0, dtype=np.float64)
        clipped += _clipped(mixture)
        residual += float(np.square(mixture - total).sum())
        energy += float(np.square(mixture).sum())
        read += len(mixture)
    if read != samples:
        report.errors.append(f"{folder}: only {read} of {samples} samples can be read: copy it again")
    report.errors += [
        f"{folder / name}.wav contains NaN or infinity: export it again" for name in SIGNALS if not finite[name]
    ]
    report.silent = [name for name in SIGNALS if peaks[name] < _SILENT_PEAK]
    report.clipped = clipped / max(1, 2 * read)
    report.fingerprint = digest.hexdigest()
    if "mixture" in report.silent:
        report.errors.append(f"{folder / 'mixture'}.wav is silent: move the track away")
    elif report.silent:
        report.warnings.append(f"silent: {', '.join(report.silent)}")
    if report.clipped > _CLIPPED_SHARE:
        report.warnings.append(f"the mixture clips: {100 * report.clipped:.2f} % of its samples")
    if energy > 0:
        report.residual_db = 10 * float(np.log10(max(residual, 1e-20) / energy))
        if report.residual_db > _RESIDUAL_DB:
            report.warnings.append(
                f"the mixture is not the sum of the stems: the difference is at {report.residual_db:.0f} dB"
            )


def _blocks(folder: Path) -> Iterator[dict[str, NDArray[np.float32]]]:
    """Successive blocks (samples, 2) of the five files, up to the end of the shortest."""
    with ExitStack() as stack:
        files = {name: stack.enter_context(soundfile.SoundFile(folder / f"{name}.wav")) for name in SIGNALS}
        while True:
            blocks = {name: file.read(_BLOCK, dtype="float32", always_2d=True) for name, file in files.items()}
            shortest = min(map(len, blocks.values()))
            if not shortest:
                return
            yield {name: block[:shortest] for name, block in blocks.items()}


def _clipped(audio: NDArray[np.float64]) -> int:
    """Samples of (N, 2) in runs of at least 3 at full scale; a single one may be the peak of a normalised mix."""
    full = np.abs(audio) >= _FULL_SCALE
    return int(binary_opening(full, np.ones((_RUN, 1))).sum()) if full.any() else 0


def compare_tracks(reports: list[TrackReport]) -> None:
    """Add to the reports which tracks have the same audio or the same name as an earlier one."""
    by_audio: dict[str, TrackReport] = {}
    by_name: dict[str, TrackReport] = {}
    for report in reports:
        subset, name = report.name.split("/", 1)
        same = by_audio.setdefault(report.fingerprint, report) if report.fingerprint else report
        if same is not report:
            line = f"the same audio as {same.name}"
            if same.name.startswith(f"{subset}/"):
                report.warnings.append(line)
            else:
                report.errors.append(f"{line}: a test track must not be trained on; remove one")
        namesake = by_name.setdefault(name, report)
        if namesake is not report:
            report.warnings.append(f"the same name as {namesake.name}")

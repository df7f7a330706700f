"""Every sample of a dataset looked at once: what training would stumble over, or learn wrongly from."""

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from wsa_lightning.data.tracks import SOURCES, Subset, open_track
from wsa_lightning.errors import UserError

SUBSETS: tuple[Subset, ...] = ("train", "test")
FILES = ("mixture", *SOURCES)

_BLOCK = 1 << 18
_SILENT_PEAK = 1e-4
_FULL_SCALE = 32767 / 32768
_RUN = 3
_CLIPPED_SHARE = 1e-4
_RESIDUAL_DB = -20.0


@dataclass
class SongReport:
    """What was found in one song.

    Attributes:
        name: ``train/SONG``.
        seconds: length.
        sample_rate: in Hz.
        silent: stems without a sample above -80 dBFS.
        clipped: share of the mixture's samples in runs of 3 or more at full scale.
        residual_db: energy of (mixture - sum of the stems) under the mixture's, in dB; None if either is silent.
        fingerprint: SHA-256 of the decoded stems.
        errors: what keeps the song from being trained or scored on.
        warnings: what may be meant so.
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

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def find_songs(root: Path) -> list[Path]:
    """The song folders of a MUSDB18-HQ tree, train before test, and whatever else lies where songs should.

    Raises:
        UserError: there is neither a train nor a test folder, or nothing in them.
    """
    if not any((root / subset).is_dir() for subset in SUBSETS):
        raise UserError(f"{root} has no train and no test folder: expected ROOT/{{train,test}}/SONG/mixture.wav")
    songs = [
        entry
        for subset in SUBSETS
        if (root / subset).is_dir()
        for entry in sorted((root / subset).iterdir())
        if not entry.name.startswith(".")
    ]
    if not songs:
        raise UserError(f"{root}: train and test are empty: expected ROOT/{{train,test}}/SONG/mixture.wav")
    return songs


def check_all(
    songs: list[Path], sample_rate: int, workers: int, on_checked: Callable[[], object] = lambda: None
) -> list[SongReport]:
    """Check songs in parallel threads, then against each other, in the order given.

    Args:
        songs: song folders.
        sample_rate: expected, in Hz.
        workers: threads; decoding and arithmetic run outside Python's lock.
        on_checked: called after every song.
    """
    with ThreadPoolExecutor(workers) as pool:
        futures = {pool.submit(check_song, song, sample_rate): number for number, song in enumerate(songs)}
        reports = {}
        for future in as_completed(futures):
            reports[futures[future]] = future.result()
            on_checked()
    ordered = [reports[number] for number in range(len(songs))]
    _compare(ordered)
    return ordered


def check_song(folder: Path, sample_rate: int = 44100) -> SongReport:
    """Headers, then every sample of the five files, in blocks."""
    report = SongReport(f"{folder.parent.name}/{folder.name}")
    if not folder.is_dir():
        kind = "a link that leads nowhere or to itself" if folder.is_symlink() else "no folder"
        report.errors.append(f"{folder} is {kind}: expected a song's folder; remove it")
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


def _measure(folder: Path, samples: int, report: SongReport) -> None:
    """Fill in what only the samples tell."""
    peaks = dict.fromkeys(FILES, 0.0)
    finite = dict.fromkeys(FILES, True)
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
        report.errors.append(f"{folder}: {read} samples could be read, the header promises {samples}: copy it again")
    report.errors += [
        f"{folder / name}.wav holds NaN or infinity: export it again" for name in FILES if not finite[name]
    ]
    report.silent = [name for name in FILES if peaks[name] < _SILENT_PEAK]
    report.clipped = clipped / max(1, 2 * read)
    report.fingerprint = digest.hexdigest()
    if "mixture" in report.silent:
        report.errors.append(f"{folder / 'mixture'}.wav is silent: move the song away")
    elif report.silent:
        report.warnings.append(f"silent: {', '.join(report.silent)}")
    if report.clipped > _CLIPPED_SHARE:
        report.warnings.append(f"the mixture clips: {100 * report.clipped:.2f} % of its samples")
    if energy > 0:
        report.residual_db = 10 * float(np.log10(max(residual, 1e-20) / energy))
        if report.residual_db > _RESIDUAL_DB:
            report.warnings.append(f"mixture and sum of the stems differ by {report.residual_db:.0f} dB")


def _blocks(folder: Path) -> Iterator[dict[str, NDArray[np.float32]]]:
    """The same stretch of all five files, (samples, 2) each, one after the other; the shortest ends it."""
    files = {name: soundfile.SoundFile(folder / f"{name}.wav") for name in FILES}
    try:
        while True:
            blocks = {name: file.read(_BLOCK, dtype="float32", always_2d=True) for name, file in files.items()}
            shortest = min(map(len, blocks.values()))
            if not shortest:
                return
            yield {name: block[:shortest] for name, block in blocks.items()}
    finally:
        for file in files.values():
            file.close()


def _clipped(audio: NDArray[np.float64]) -> int:
    """Samples of (N, 2) in runs of at least 3 at full scale: one alone may be a peak that was normalised."""
    full = np.abs(audio) >= _FULL_SCALE
    if not full.any():
        return 0
    inside = full[:-2] & full[1:-1] & full[2:]
    clipped = np.zeros_like(full)
    for offset in range(_RUN):
        clipped[offset : len(full) - _RUN + 1 + offset] |= inside
    return int(clipped.sum())


def _compare(reports: list[SongReport]) -> None:
    """Add what only all songs together tell: the same audio, or the same name, twice."""
    first: dict[str, SongReport] = {}
    names: dict[str, SongReport] = {}
    for report in reports:
        subset, name = report.name.split("/", 1)
        for seen, key, what in ((first, report.fingerprint, "the same audio as"), (names, name, "the same name as")):
            if not key:
                continue
            other = seen.setdefault(key, report)
            if other is report:
                continue
            if other.name.split("/", 1)[0] != subset and seen is first:
                report.errors.append(f"{what} {other.name}: a test song must not be trained on; remove one")
            else:
                report.warnings.append(f"{what} {other.name}")

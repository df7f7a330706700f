"""Results: a folder that is written atomically, rows as CSV, numbers as text."""

import contextlib
import csv
import io
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from wsa_lightning.errors import UserError


@contextlib.contextmanager
def results_folder(out: Path) -> Iterator[Path]:
    """A temporary folder. Once everything is written, its entries replace those of the same name in ``out``.

    Raises:
        UserError: ``out`` is a file, or cannot be created.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=out, prefix=".writing-"))
    except OSError as error:
        raise UserError(f"--out {out} cannot be written ({error.strerror}): expected a folder") from None
    try:
        yield temporary
        for entry in sorted(temporary.iterdir()):
            target = out / entry.name
            if target.is_dir():
                shutil.rmtree(target)
            entry.replace(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def to_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows with the same keys as CSV; None is an empty field."""
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def decimals(value: float | None, digits: int = 2) -> str:
    """A number with that many digits after the point; None is an empty string."""
    return "" if value is None else f"{value:.{digits}f}"


def percent(value: float | None) -> str:
    """A share in percent, ``97.3 %``; None is an empty string."""
    return "" if value is None else f"{100 * value:.1f} %"

"""How checkpoints are written: atomically, the previous one kept, a broken one noticed."""

import logging
import os
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO

from wsa_lightning.atomic import replacing
from wsa_lightning.errors import UserError, first_line

logger = logging.getLogger(__name__)

PREVIOUS = ".previous"


def previous(path: Path) -> Path:
    """Where the checkpoint that ``path`` replaced is kept: ``last.ckpt`` -> ``last.previous.ckpt``."""
    return path.with_name(f"{path.stem}{PREVIOUS}{path.suffix}")


def verify(path: Path) -> None:
    """Read a checkpoint back: every byte against its checksum, and the structure without running any code.

    Raises:
        UserError: the file is missing, cut off, damaged or compressed, or holds more than plain data.
    """
    verify_bytes(path)
    verify_structure(path)


def verify_bytes(path: Path) -> None:
    """Raise a ``UserError`` unless every byte of the file is as it was written."""
    if not path.is_file():
        raise UserError(f"{path} is no file: expected a checkpoint such as RUN/checkpoints/last.ckpt")
    try:
        with zipfile.ZipFile(path) as archive:
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                raise UserError(f"{path} is refused: checkpoints are never compressed, this may be a zip bomb")
            damaged = archive.testzip()
    except UserError:
        raise
    except Exception as error:  # zipfile answers a hostile file with whatever its parsing runs into
        raise UserError(f"{path} is no readable checkpoint: cut off or damaged ({first_line(error)})") from None
    if damaged is not None:
        raise UserError(f"{path} is damaged ({damaged} has another checksum): copy it again")


def verify_structure(path: Path) -> None:
    """Raise a ``UserError`` unless the file holds tensors and plain data only; they are mapped, not read."""
    try:
        torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # so does the unpickler
        raise UserError(f"{path} is refused: it holds more than tensors and plain data ({first_line(error)})") from None


class AtomicCheckpointIO(CheckpointIO):
    """Writes beside the target, reads it back, and only then renames; loads the one before where the newest is broken.

    A checkpoint that is overwritten stays as ``NAME.previous.ckpt``. When the disk is full the old file
    stays and training goes on: a warning says so, and the next checkpoint tries again.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint; a crash at any moment leaves the old file or the new one, never half of one.

        Raises:
            UserError: a callback's state is more than plain data, and so could not be loaded again.
        """
        path = Path(path)
        written = False
        try:
            with replacing(path) as temporary:
                with temporary.open("wb") as file:  # given a name, torch.save would write that into the file
                    torch.save(checkpoint, file)
                verify_bytes(temporary)
                written = True
                verify_structure(temporary)
                _keep_previous(path)
        except (OSError, RuntimeError, UserError) as error:
            if written and isinstance(error, UserError):
                raise
            reason = first_line(error)
            kept = "the checkpoint before it is kept" if path.exists() else "there is none yet"
            logger.error("%s could not be written (%s); %s; free space and let the run go on", path, reason, kept)

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Plain data from the file, or from the one before it if the file is broken; pickled code is never run."""
        file = self.readable(Path(path))
        checkpoint: dict[str, Any] = torch.load(file, map_location=map_location or "cpu", weights_only=True)
        return checkpoint

    @staticmethod
    def readable(path: Path) -> Path:
        """``path``, or the checkpoint before it if ``path`` is broken, which is said.

        Raises:
            UserError: neither can be read.
        """
        try:
            verify(path)
            return path
        except UserError as error:
            older = previous(path)
            if not older.is_file():
                raise
            verify(older)
            logger.warning("%s; going on from the one before it, %s", error, older)
            return older

    def remove_checkpoint(self, path: str | Path) -> None:
        for file in (Path(path), previous(Path(path))):
            file.unlink(missing_ok=True)


def _keep_previous(path: Path) -> None:
    """Give the present file its second name; at no moment is there none under the first."""
    if not path.exists():
        return
    link = previous(path).with_name(f".{previous(path).name}.{os.getpid()}.partial")
    link.unlink(missing_ok=True)
    try:
        os.link(path, link)
    except OSError:  # a file system without hard links
        path.replace(previous(path))
        return
    link.replace(previous(path))

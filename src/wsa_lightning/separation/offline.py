"""A whole song in memory: one tensor in, one tensor out."""

from torch import Tensor

from wsa_lightning.errors import UserError
from wsa_lightning.models import Roformer
from wsa_lightning.separation.stream import Precision, separate_stream

PIECE = 1 << 18


def separate(
    model: Roformer,
    mixture: Tensor,
    sample_rate: int,
    *,
    chunk_seconds: float | None = None,
    overlap: int | None = None,
    batch_size: int = 1,
    precision: Precision | None = None,
) -> Tensor:
    """Separate a song of any length.

    The song is cut into blocks that fade into each other (``separation.blocks``), so that a model that returns its
    input gives the song back, and a windowed student without sinks gives what it gives for the whole song at once.

    Args:
        model: on any device; the result lies on the device of ``mixture``.
        mixture: (C, N), N >= 1.
        sample_rate: of ``mixture``, in Hz; must be the model's.
        chunk_seconds: length of a block; None is the length trained on, at least 8 s for a student (``plan_blocks``).
        overlap: blocks that a sample lies in; None is 2 for full attention, the halo it needs for a student.
        batch_size: blocks computed at once.
        precision: ``32-true``, ``bf16-mixed`` or ``16-mixed``; None leaves a surrounding autocast as it is.

    Returns:
        (stems, C, N), exactly N.

    Raises:
        UserError: another sample rate or number of channels, an empty or not finite mixture, an option out of range.
    """
    config = model.config
    if sample_rate != config.sample_rate:
        raise UserError(
            f"sample rate is {sample_rate} Hz: expected {config.sample_rate} Hz, the model's; resample first"
        )
    if mixture.ndim != 2 or mixture.shape[0] != config.channels or mixture.shape[1] < 1:
        raise UserError(f"mixture has shape {tuple(mixture.shape)}: expected ({config.channels}, samples >= 1)")
    pieces = separate_stream(
        model,
        mixture[None].split(PIECE, dim=-1),
        chunk_seconds=chunk_seconds,
        overlap=overlap,
        batch_size=batch_size,
        precision=precision,
    )
    stems = mixture.new_empty(len(config.stems), *mixture.shape)
    done = 0
    for piece in pieces:
        stems[..., done : done + piece.shape[-1]] = piece[0]
        done += piece.shape[-1]
    return stems

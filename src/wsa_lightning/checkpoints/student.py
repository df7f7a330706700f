"""Teacher to student: the same weights, the time attention narrowed, sink tokens put in front."""

from dataclasses import replace
from enum import Enum
from typing import Literal

import torch
from torch import Tensor

from wsa_lightning.checkpoints.filling import fill
from wsa_lightning.errors import UserError
from wsa_lightning.models import Dilation, Roformer, Window

SINK_SEED = 0
SINK_NOISE = 0.1
SINK_FLOOR = 0.1
RANDOM_SCALE = 0.02
SINK_STARTS = ("mean", "random", "frames")
"""``mean``: the mean band-split feature of every band plus a little noise (docs/decisions/0002). ``random``: plain
noise. ``frames``: sink s is the band-split feature of frame s, averaged over some training mixtures."""


class Keep(Enum):
    """Marks an argument that keeps what the model has (None already means full attention)."""

    KEEP = "keep"


def to_student(
    teacher: Roformer,
    *,
    window: Window | Literal[Keep.KEEP] = Keep.KEEP,
    sinks: int | Literal[Keep.KEEP] = Keep.KEEP,
    dilation: Dilation | Literal[Keep.KEEP] = Keep.KEEP,
    sink_start: str = "mean",
    mixtures: Tensor | None = None,
    seed: int = SINK_SEED,
    share: bool = False,
) -> Roformer:
    """A copy of ``teacher`` with another window, dilation or number of sinks, on the same device.

    Everything but a changed number of sinks is the teacher's, bit for bit.

    Args:
        teacher: returned as it is where nothing changes.
        window: width of the time attention in frames, None for full; a list has one a layer.
        sinks: sink tokens; another number than the teacher's starts them afresh.
        dilation: frames from one key of the window to the next, or a list of one a layer; kept, it is 1 where the
            window is None.
        sink_start: where they start, one of ``SINK_STARTS``.
        mixtures: (B, C, N) of music; only ``frames`` looks at it.
        seed: of the noise that fresh sinks start with.
        share: take the teacher's tensors instead of copies: for a teacher that nobody needs any more.

    Raises:
        UserError: an unknown start, or ``frames`` without mixtures.
    """
    config = teacher.config
    windows = replace(config, window=config.window if window is Keep.KEEP else window, dilation=1).windows
    if dilation is Keep.KEEP:
        dilation = [1 if own is None else step for own, step in zip(windows, config.dilations, strict=True)]
    new = replace(
        config,
        window=windows,
        sinks=config.sinks if sinks is Keep.KEEP else sinks,
        dilation=dilation,
    )
    if new == config:
        return teacher
    state = teacher.state_dict()
    if new.sinks != config.sinks:
        state.pop("sinks", None)
        if new.sinks:
            state["sinks"] = initial_sinks(teacher, new.sinks, sink_start, mixtures, seed)
    return fill(new, state, share=share)


@torch.no_grad()
def initial_sinks(
    teacher: Roformer, sinks: int, start: str, mixtures: Tensor | None = None, seed: int = SINK_SEED
) -> Tensor:
    """Sink tokens to begin training with, (S, K, D).

    Sinks at an arbitrary place would enter at full strength, for the RMSNorm that follows cancels any small
    scale; sinks of exactly zero would meet that norm's gradient of 1e12.
    """
    if start not in SINK_STARTS:
        raise UserError(f"sink_start is {start!r}: expected one of {', '.join(SINK_STARTS)}")
    mean = teacher.band_split.mean_feature()  # (K, D)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(sinks, *mean.shape, generator=generator, device="cpu").to(mean)
    if start == "random":
        return RANDOM_SCALE * noise
    if start == "mean":
        return mean + SINK_NOISE * mean.square().mean().sqrt().clamp_min(SINK_FLOOR) * noise
    if mixtures is None:
        raise UserError("sink_start frames needs music to look at: choose mean or random where there is none")
    tokens = teacher.tokens(teacher.spectral(mixtures))  # (B, T, K, D)
    return tokens[:, :sinks].mean(0)

"""Teacher to student: the same weights, the time attention narrowed, sink tokens put in front."""

from dataclasses import replace
from enum import Enum
from typing import Literal

import torch
from torch import Tensor

from wsa_lightning.models import Roformer

SINK_SEED = 0
SINK_NOISE = 0.1
SINK_FLOOR = 0.1


class Keep(Enum):
    """Marks an argument that keeps what the model has (None already means full attention)."""

    KEEP = "keep"


def to_student(
    teacher: Roformer,
    *,
    window: int | None | Literal[Keep.KEEP] = Keep.KEEP,
    sinks: int | Literal[Keep.KEEP] = Keep.KEEP,
) -> Roformer:
    """A copy of ``teacher`` with another window or number of sinks, on the same device.

    A changed number of sinks starts from ``initial_sinks``; everything else is the teacher's, bit for bit.
    """
    config = teacher.config
    new = replace(
        config,
        window=config.window if window is Keep.KEEP else window,
        sinks=config.sinks if sinks is Keep.KEEP else sinks,
    )
    if new == config:
        return teacher
    state = teacher.state_dict()
    if new.sinks != config.sinks:
        state.pop("sinks", None)
        if new.sinks:
            state["sinks"] = initial_sinks(teacher, new.sinks)
    with torch.device(next(teacher.parameters()).device):
        student = Roformer(new)
    student.load_state_dict(state)
    return student


def initial_sinks(teacher: Roformer, sinks: int) -> Tensor:
    """Where sink tokens start: the mean band-split feature of every band, plus a little noise, (S, K, D).

    Sinks at an arbitrary place would enter at full strength, for the RMSNorm that follows cancels any small
    scale; sinks of exactly zero would meet that norm's gradient of 1e12.
    """
    mean = teacher.band_split.mean_feature().detach()  # (K, D)
    generator = torch.Generator().manual_seed(SINK_SEED)
    noise = torch.randn(sinks, *mean.shape, generator=generator, device="cpu").to(mean)
    scale = mean.square().mean().sqrt().clamp_min(SINK_FLOOR)
    return mean + SINK_NOISE * scale * noise

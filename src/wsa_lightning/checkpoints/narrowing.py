"""Teacher to student: the same weights, another time attention, sink tokens in front."""

from dataclasses import replace

import torch
from torch import Tensor

from wsa_lightning.checkpoints.filling import fill
from wsa_lightning.errors import UserError
from wsa_lightning.models import Roformer, RoformerConfig

SINK_SEED = 0
SINK_NOISE = 0.1
SINK_FLOOR = 0.1
RANDOM_SCALE = 0.02
SINK_STARTS = ("mean", "random")
"""``mean``: the mean band-split feature of every band plus a little noise (docs/decisions/0002). ``random``: plain
noise."""


def to_student(
    teacher: Roformer,
    config: RoformerConfig,
    *,
    sink_start: str = "mean",
    seed: int = SINK_SEED,
    share: bool = False,
) -> Roformer:
    """A copy of ``teacher`` with another time attention, on the same device.

    All tensors are the teacher's, bit for bit; only another number of sinks starts with new ones.

    Args:
        teacher: returned as it is if nothing changes.
        config: the teacher's, with another window, dilation or number of sinks.
        sink_start: where new sinks start, one of ``SINK_STARTS``.
        seed: of the noise that new sinks start with.
        share: use the teacher's tensors instead of copies: for a teacher that is no longer needed.

    Raises:
        UserError: a config that differs in anything else, or an unknown start.
    """
    if config == teacher.config:
        return teacher
    theirs = vars(replace(teacher.config, **vars(config.time_attention)))
    if different := [name for name, value in vars(config).items() if value != theirs[name]]:
        raise UserError(
            f"student and teacher differ in {', '.join(different)}: expected the teacher's architecture with another "
            "window, dilation or number of sinks"
        )
    state = teacher.state_dict()
    if config.sinks != teacher.config.sinks:
        state.pop("sinks", None)
        if config.sinks:
            state["sinks"] = initial_sinks(teacher, config.sinks, sink_start, seed)
    return fill(config, state, share=share)


@torch.no_grad()
def initial_sinks(teacher: Roformer, sinks: int, start: str, seed: int = SINK_SEED) -> Tensor:
    """Sink tokens to begin training with, (S, K, D).

    Small random sinks would not be a gentle start, because the RMSNorm that follows cancels any scale; sinks of exactly
    zero would get that norm's gradient of 1e12.
    """
    if start not in SINK_STARTS:
        raise UserError(f"sink_start is {start!r}: expected one of {', '.join(SINK_STARTS)}")
    mean = teacher.band_split.mean_feature()  # (K, D)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(sinks, *mean.shape, generator=generator, device="cpu").to(mean)
    if start == "random":
        return RANDOM_SCALE * noise
    return mean + SINK_NOISE * mean.square().mean().sqrt().clamp_min(SINK_FLOOR) * noise

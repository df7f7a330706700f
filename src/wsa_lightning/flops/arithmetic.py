"""The FLOPs of a Roformer in closed form."""

import math

from wsa_lightning.attention import attention_flops
from wsa_lightning.attention.blocked import executed_pairs
from wsa_lightning.errors import UserError
from wsa_lightning.flops.flop_report import FlopReport
from wsa_lightning.models.bands import band_bins
from wsa_lightning.models.config import ATTENTION, RoformerConfig


def closed_form(config: RoformerConfig, seconds: float = 8.0) -> FlopReport:
    """The report that ``count`` gives for ``Roformer(config)``, by arithmetic alone.

    Raises:
        UserError: a duration that is not a positive number; a time mixer other than attention.
    """
    if config.time_mixer != ATTENTION:
        raise UserError(f"time_mixer is {config.time_mixer!r}: the closed form covers attention alone, use flops.count")
    frames, bands, dim = frames_of(config, seconds), config.bands, config.dim
    inner, length = config.heads * config.dim_head, config.sinks + frames
    widths = [2 * config.channels * len(bins) for bins in band_bins(config)]  # re and im

    token_macs = dim * (3 * inner) + dim * config.heads + inner * dim + 2 * config.ff_mult * dim * dim
    block_linear = 2 * length * bands * token_macs  # of either axis: sinks pass through both
    time_linear = config.time_blocks * block_linear
    frequency_linear = config.frequency_blocks * block_linear

    time_attention = [
        attention_flops(config.time_blocks * bands * pattern.pairs(frames), config.heads, config.dim_head)
        for pattern in config.patterns
    ]
    frequency_pairs = config.frequency_blocks * length * bands**2
    frequency_attention = attention_flops(frequency_pairs, config.heads, config.dim_head)

    hidden = config.mlp_expansion_factor * dim
    hidden_macs = dim * hidden + (config.mask_hidden_layers - 1) * hidden * hidden
    mask_macs = sum(hidden_macs + hidden * 2 * width for width in widths)  # twice the width: GLU halves it
    band_split = 2 * frames * sum(widths) * dim
    mask_estimators = 2 * len(config.stems) * frames * mask_macs

    layers = range(config.depth)
    return FlopReport(
        seconds=seconds,
        frames=frames,
        linear=band_split + config.depth * (time_linear + frequency_linear) + mask_estimators,
        time_attention=sum(time_attention),
        frequency_attention=config.depth * frequency_attention,
        by_module={
            "band_split": band_split,
            **{f"layers.{i}.time": time_linear + time_attention[i] for i in layers},
            **{f"layers.{i}.frequency": frequency_linear + frequency_attention for i in layers},
            "mask_estimators": mask_estimators,
        },
        stft=stft_flops(config, (1 + len(config.stems)) * config.channels * frames),
        **pairs_of(config, frames),
        uncounted=(),
    )


def frames_of(config: RoformerConfig, seconds: float) -> int:
    """STFT frames of a mixture; a ``UserError`` for what is not a positive duration."""
    if not (math.isfinite(seconds) and seconds > 0):
        raise UserError(f"seconds is {seconds}: expected a positive duration")
    # What is too short to be reflected is padded to n_fft // 2 + 1 samples, the number of bins.
    return config.frames(max(seconds, config.bins / config.sample_rate))


def stft_flops(config: RoformerConfig, transforms: int) -> int:
    """FLOPs of so many real FFTs, 2.5 n log2 n each."""
    return round(transforms * 2.5 * config.n_fft * math.log2(config.n_fft))


def pairs_of(config: RoformerConfig, frames: int) -> dict[str, int]:
    """The score pairs of a report, and the FLOPs of time attention by the paper's and the executed ones."""
    paper = sum(pattern.paper_pairs(frames) for pattern in config.patterns)
    exact = sum(pattern.pairs(frames) for pattern in config.patterns)
    executed = sum(executed_pairs(pattern, frames) for pattern in config.patterns)
    pair = attention_flops(config.time_blocks * config.bands, config.heads, config.dim_head)
    return {
        "paper_pairs": round(paper / config.depth),
        "exact_pairs": round(exact / config.depth),
        "executed_pairs": round(executed / config.depth),
        "time_attention_paper": pair * paper,
        "time_attention_executed": pair * executed,
    }

"""A song cut into blocks and joined again: where they start, how long they are, how they fade into each other.

A teacher sees everything in a block and is unsure at its edges, so its blocks overlap by half and fade over all of it:

    block 1   /‾‾‾‾\\
    block 2      /‾‾‾‾\\

A student hears no further than its receptive field, so a block needs only that much context on either side (the halo,
drawn as dots). There its output is dropped; between the halos the blocks fade:

    block 1   ‾‾‾‾‾‾‾‾\\....
    block 2       ..../‾‾‾‾‾‾‾‾\\....
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from wsa_lightning.errors import UserError
from wsa_lightning.models import RoformerConfig

TEACHER_OVERLAP = 2
STUDENT_SECONDS = 8.0


@dataclass(frozen=True)
class BlockPlan:
    """How a song is cut; everything in samples.

    Attributes:
        length: samples run through the model at once; a shorter song is one block.
        step: between the starts of neighbouring blocks.
        grid: starts are multiples of it; a student's STFT frames then fall where the whole song's fall.
        halo: samples at a cut edge whose output is dropped.
        ramp: samples of the linear fade that follow the halo.
    """

    length: int
    step: int
    grid: int = 1
    halo: int = 0
    ramp: int = 0

    def weight(self, samples: int, *, first: bool, last: bool) -> Tensor:
        """Weight of a block's samples, (samples,): a song's own beginning and end are not faded."""
        position = torch.arange(samples) + 0.5
        weight = torch.ones(samples)
        if not first:
            weight = torch.minimum(weight, self._fade(position))
        if not last:
            weight = torch.minimum(weight, self._fade(samples - position))
        return weight

    def _fade(self, from_edge: Tensor) -> Tensor:
        return ((from_edge - self.halo) / max(self.ramp, 0.5)).clamp(0, 1)


@dataclass(frozen=True)
class Block:
    """A stretch of a song: ``audio`` is (..., C, samples) from sample ``start`` on."""

    start: int
    audio: Tensor
    first: bool
    last: bool


def plan_blocks(config: RoformerConfig, chunk_seconds: float | None = None, overlap: int | None = None) -> BlockPlan:
    """How songs are cut for a model.

    Args:
        config: the model's.
        chunk_seconds: length of a block, a student's halos not counted. None is the length the model was trained
            on; for a student in halos at least 8 s, which is cheaper and no worse (``docs/separation.md``).
        overlap: blocks that a sample lies in. None is 2 for full attention, and for a windowed student the halo
            its receptive field needs; 1 is no overlap.

    Raises:
        UserError: a length or an overlap that is not positive.
    """
    by_halo = all(pattern.window is not None for pattern in config.patterns) and overlap is None
    seconds = config.chunk_seconds if chunk_seconds is None else chunk_seconds
    if chunk_seconds is None and by_halo:
        seconds = max(seconds, STUDENT_SECONDS)
    if not (math.isfinite(seconds) and seconds > 0):
        raise UserError(f"chunk_seconds is {seconds}: expected a positive number")
    if overlap is not None and overlap < 1:
        raise UserError(f"overlap is {overlap}: expected 1 (none) or more")
    chunk = round(seconds * config.sample_rate)
    if not by_halo:
        times = overlap or TEACHER_OVERLAP
        length = max(times, chunk)
        return BlockPlan(length, step=length // times, ramp=length // 2 if times > 1 else 0)
    hop, halo = config.hop_length, receptive_samples(config)
    step = max(1, round(chunk / hop)) * hop
    shared = -(-(2 * halo + config.n_fft) // hop) * hop  # of two neighbours: halo, fade, halo
    return BlockPlan(step + shared, step, grid=hop, halo=halo, ramp=shared - 2 * halo)


def receptive_frames(config: RoformerConfig) -> int:
    """Frames to either side that reach a frame's mask through windowed attention, sinks aside."""
    if any(pattern.window is None for pattern in config.patterns):
        raise UserError("a window is null: full attention sees everything, expected a student windowed in every layer")
    return config.time_blocks * sum(pattern.reach for pattern in config.patterns)


def receptive_samples(config: RoformerConfig) -> int:
    """Samples to either side that reach a sample: the mask's frames, and the STFT window on the way in and out."""
    return receptive_frames(config) * config.hop_length + config.n_fft


def cost_factor(config: RoformerConfig, chunk_seconds: float | None = None, overlap: int | None = None) -> float:
    """Seconds of audio run through the model for each second of a long song; arguments as in ``plan_blocks``."""
    plan = plan_blocks(config, chunk_seconds, overlap)
    return plan.length / plan.step


def cut(source: Iterable[Tensor], plan: BlockPlan) -> Iterator[Block]:
    """Cut audio that arrives in pieces (..., C, any) into blocks; the last one is moved back to end with the song.

    A block and a step are held at a time, and a piece of the source. A source without samples has no blocks.
    """
    pieces = iter(source)
    held, origin, start, ended = next(pieces, torch.zeros(0)), 0, 0, False
    while True:
        wanted = start + plan.length + plan.grid
        parts, samples = [held], origin + held.shape[-1]
        while samples < wanted and not ended:
            if (piece := next(pieces, None)) is None:
                ended = True
            else:
                parts.append(piece)
                samples += piece.shape[-1]
        held = torch.cat(parts, dim=-1) if len(parts) > 1 else held
        if samples == 0:
            return
        if samples < wanted:
            start = max(0, min(start, (samples - plan.length) // plan.grid * plan.grid))
            yield Block(start, held[..., start - origin :], first=start == 0, last=True)
            return
        yield Block(start, held[..., start - origin :][..., : plan.length], first=start == 0, last=False)
        held, origin = held[..., start - origin :], start
        start += plan.step


def join(blocks: Iterable[tuple[Block, Tensor]], plan: BlockPlan) -> Iterator[Tensor]:
    """Fade the blocks' estimates (..., samples) into one stream of pieces, as long together as the song."""
    total, weight, origin = torch.zeros(0), torch.zeros(0), 0
    for block, estimate in blocks:
        fade = plan.weight(estimate.shape[-1], first=block.first, last=block.last).to(estimate)
        if block.first:
            total, weight = estimate * fade, fade
            continue
        done = block.start - origin  # no later block reaches back before this one
        if done:
            yield total[..., :done] / weight[:done]
        grown = done + estimate.shape[-1] - total.shape[-1]
        total = torch.nn.functional.pad(total[..., done:], (0, max(0, grown)))
        weight = torch.nn.functional.pad(weight[done:], (0, max(0, grown)))
        total += estimate * fade
        weight += fade
        origin = block.start
    if weight.numel():
        yield total / weight

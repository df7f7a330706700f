"""Time attention at Kim's heads (8 x 64): full, dense masked, and each backend; time and memory, forward and backward.

All cases of a row run in turn in one process; memory is each case's own, in a process of its own. Time is linear in
the bands of every case, so long rows take fewer of them.

Example: python benchmarks/attention.py --rows 801:60 6001:4
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from harness import in_fresh_process, interleave, show, write
from torch import Tensor

from wsa_lightning.attention import Pattern, backends, windowed_sink_attention

HEADS, DIM_HEAD = 8, 64
DENSE_UP_TO = 3001
"""Frames beyond which a dense mask is left out: its bytes grow with the square, 2.3 GB at 24 001."""

PEAK = """
import json, sys
sys.path.insert(0, {here!r})
import torch
from harness import peak_rss, reset_peak
from attention import case, tensors
name, frames, bands, window, dilation, backward = sys.argv[1], *map(int, sys.argv[2:6]), sys.argv[6] == "True"
# What the libraries themselves take, before the measurement.
case(name, tensors(32, 1, backward), backward, window, dilation)()
qkv = tensors(frames, bands, backward)
run = case(name, qkv, backward, window, dilation)
reset_peak()
before = peak_rss()
run()
kept = qkv[0].nbytes * (5 if backward else 1)  # out, its gradient and theirs
print(json.dumps({{"extra": (peak_rss() - before - kept) / qkv[0].nbytes}}))
"""


def tensors(frames: int, bands: int, backward: bool, *, sinks: int = 8) -> list[Tensor]:
    """q, k, v (bands, heads, sinks + frames, dim_head), laid out as the model's projection lays them."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    shape = (bands, sinks + frames, HEADS, DIM_HEAD)
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    generator = torch.Generator(device).manual_seed(0)
    made = [torch.randn(shape, generator=generator, device=device, dtype=dtype) for _ in range(3)]
    return [x.requires_grad_(backward).transpose(1, 2) for x in made]


def case(
    name: str, qkv: list[Tensor], backward: bool, window: int, dilation: int, *, sinks: int = 8
) -> Callable[[], Any]:
    """What is timed: one forward pass, or one and its backward pass."""

    def attend() -> Tensor:
        if name == "full":
            return F.scaled_dot_product_attention(*qkv)
        if name == "dense mask":
            seen = Pattern(window, sinks, dilation).mask(qkv[0].shape[2] - sinks, qkv[0].device)
            return F.scaled_dot_product_attention(*qkv, attn_mask=seen)
        return windowed_sink_attention(*qkv, window=window, sinks=sinks, dilation=dilation, backend=name)

    if not backward:
        return attend

    def both() -> Any:
        out = attend()
        return torch.autograd.grad(out, qkv, torch.ones_like(out))

    return both


def row(
    frames: int, bands: int, backward: bool, window: int, dilation: int, rounds: int, memory: bool
) -> list[dict[str, Any]]:
    """Every case at one length."""
    ours = [name for name in backends() if name != "reference"]
    names = ["full", *(["dense mask"] if frames <= DENSE_UP_TO else []), *ours]
    qkv = tensors(frames, bands, backward)
    timings = interleave({name: case(name, qkv, backward, window, dilation) for name in names}, rounds)
    rows = []
    for name in names:
        made: dict[str, Any] = {"case": name, "frames": frames, "bands": bands, "window": window, "backward": backward}
        made["dilation"] = dilation
        made |= {"faster_than_full": timings["full"].median / timings[name].median, **timings[name].to_dict()}
        if memory and not torch.cuda.is_available():
            code = PEAK.format(here=str(Path(__file__).parent))
            sizes = map(str, (frames, bands, window, dilation, backward))
            made["extra_memory_in_q"] = in_fresh_process(code, name, *sizes)["extra"]
        rows.append(made)
    return rows


def main() -> None:
    """Print the table and write ``results/attention*.json``."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", nargs="+", default=["801:8", "3001:2"], metavar="FRAMES:BANDS")
    parser.add_argument("--window", type=int, default=10)
    parser.add_argument("--dilation", type=int, default=1, help="frames from one key of the window to the next")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-memory", action="store_true", help="do not measure memory")
    parser.add_argument("--name", default="attention", help="of the JSON file")
    arguments = parser.parse_args()
    rows = []
    for spec in arguments.rows:
        frames, bands = map(int, spec.split(":"))
        for backward in (False, True):
            rows += row(
                frames, bands, backward, arguments.window, arguments.dilation, arguments.rounds, not arguments.no_memory
            )
    show(
        f"time attention, window {arguments.window}, dilation {arguments.dilation}, 8 sinks; extra memory beyond "
        "inputs and results, in sizes of q",
        ["case", "frames", "bands", "pass", "x full", "median s", "min s", "extra memory"],
        [
            [r["case"], r["frames"], r["bands"], "fwd+bwd" if r["backward"] else "fwd", r["faster_than_full"],
             r["median_s"], r["min_s"], r.get("extra_memory_in_q", "-")]
            for r in rows
        ],
    )  # fmt: skip
    write(arguments.name, rows)


if __name__ == "__main__":
    main()

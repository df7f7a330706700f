"""One step of distillation (student and teacher) against the peer model's plain training step of the same size.

Both: forward, loss, backward, AdamW. The distillation's loss is ours (audio/l1, audio/stft, distill/mask), the peer's
its own (L1 and multi-resolution STFT). The plain step of our full model stands beside them.

Example: python benchmarks/training_step.py --size small --seconds 2 --batch 4
"""

import argparse
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from harness import interleave, show, write
from model import DEVICE, SIZES, peer_of
from torch import nn

from wsa_lightning.losses import Estimate, weighted_sum
from wsa_lightning.models import Roformer

WEIGHTS = {"audio/l1": 1.0, "audio/stft": 1.0, "distill/mask": 10.0}


def stepper(model: nn.Module, loss: Callable[[], torch.Tensor]) -> Callable[[], None]:
    """A whole optimizer step on ``loss``."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)

    def step() -> None:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    return step


def cases_of(size: str, seconds: float, batch: int, compiled: bool) -> dict[str, Callable[[], None]]:
    """Peer's plain step, ours with full attention, ours distilling."""
    torch.manual_seed(0)
    config = SIZES[size]
    teacher = Roformer(config).to(DEVICE).eval().requires_grad_(False)
    mixture = 0.1 * torch.randn(batch, 2, round(seconds * 44100), device=DEVICE)
    target = 0.05 * torch.randn(batch, 1, 2, mixture.shape[-1], device=DEVICE)

    def distilling(student: Roformer) -> Callable[[], None]:
        def loss() -> torch.Tensor:
            with torch.no_grad():
                spectrum = teacher.spectral(mixture)
                teacher_mask = teacher.estimate_mask(spectrum)
            audio, mask = student(mixture)
            return weighted_sum(WEIGHTS, Estimate(audio, target, mask, teacher_mask))[0]

        return stepper(student, loss)

    def plain(model: Roformer) -> Callable[[], None]:
        def loss() -> torch.Tensor:
            audio, mask = model(mixture)
            return weighted_sum({**WEIGHTS, "distill/mask": 0.0}, Estimate(audio, target, mask))[0]

        return stepper(model, loss)

    peer = peer_of(teacher).to(DEVICE).train()
    cases = {
        "peer, plain": stepper(peer, lambda: peer(mixture, target[:, 0])),
        "full, plain": plain(Roformer(config).to(DEVICE)),
        "student, distilled": distilling(Roformer(replace(config, window=16, sinks=4)).to(DEVICE)),
    }
    if compiled:
        student = Roformer(replace(config, window=16, sinks=4)).to(DEVICE)
        student.compile_layers()
        cases["student, distilled, compiled"] = distilling(student)
    return cases


def main() -> None:
    """Print the table and write ``results/training_step*.json``."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", default="small", choices=SIZES)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--compile", action="store_true", help="also a student with compiled layers")
    parser.add_argument("--name", default="training_step", help="of the JSON file")
    arguments = parser.parse_args()
    cases = cases_of(arguments.size, arguments.seconds, arguments.batch, arguments.compile)
    timings = interleave(cases, arguments.rounds)
    peer = timings["peer, plain"].median
    rows: list[dict[str, Any]] = [
        {"case": name, "size": arguments.size, "batch": arguments.batch, "seconds_of_audio": arguments.seconds,
         "of_the_peers_step": timing.median / peer, **timing.to_dict()}
        for name, timing in timings.items()
    ]  # fmt: skip
    show(
        f"one training step, {arguments.size}, {arguments.batch} x {arguments.seconds:g} s",
        ["case", "of the peer's step", "median s", "min s"],
        [[r["case"], r["of_the_peers_step"], r["median_s"], r["min_s"]] for r in rows],
    )
    write(arguments.name, rows)


if __name__ == "__main__":
    main()

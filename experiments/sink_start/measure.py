"""Score untrained students with different initial sinks.

Example: python experiments/sink_start/measure.py --teacher small-teacher --window 16 --sinks 4
"""

import argparse
from dataclasses import replace

import torch
from torch import Tensor

from wsa_lightning.checkpoints import load, to_student
from wsa_lightning.checkpoints.narrowing import SINK_STARTS, initial_sinks
from wsa_lightning.data.dataset import ChunkDataset
from wsa_lightning.data.embedded import embedded_root
from wsa_lightning.data.splits import split
from wsa_lightning.metrics import UsdrPerTrack
from wsa_lightning.models import Roformer

CHUNK = 88200
PER_SONG = 3


def starts(teacher: Roformer, sinks: int, mixtures: Tensor) -> dict[str, Tensor]:
    """Candidates for the sink tokens (S, K, D), by name."""
    tokens = teacher.tokens(teacher.spectral(mixtures))  # (B, T, K, D)
    rms = float(tokens.square().mean().sqrt())
    bias = float(teacher.band_split.mean_feature().square().mean().sqrt())
    print(f"rms of the tokens {rms:.3f}, of their biases {bias:.3f}")
    candidates = {start: initial_sinks(teacher, sinks, start) for start in SINK_STARTS}
    for seed in range(3):
        noise = torch.randn(sinks, *tokens.shape[2:], generator=torch.Generator().manual_seed(seed))
        for scale in (0.002, 0.02, 0.2, rms):
            candidates[f"noise of {scale:.3g}, seed {seed}"] = scale * noise
    spread = torch.randperm(tokens.shape[1], generator=torch.Generator().manual_seed(0))[:sinks]
    candidates["first frames, averaged over mixtures"] = tokens[:, :sinks].mean(0)
    candidates["frames of one mixture"] = tokens[0, spread]
    candidates["frames of one mixture, a tenth"] = 0.1 * tokens[0, spread]
    candidates["mean, a tenth"] = 0.1 * candidates["mean"]
    return candidates


@torch.no_grad()
def score(model: Roformer, chunks: ChunkDataset) -> float:
    """Median uSDR over the songs, in dB."""
    metric = UsdrPerTrack(len(chunks.tracks), len(model.config.stems))
    for index in range(len(chunks)):
        item = chunks[index]
        metric.update(model(item["mixture"][None]).audio, item["targets"][None], torch.tensor([item["track"]]))
    return float(metric.compute().median)


@torch.no_grad()
def main() -> None:
    """Print one row per candidate."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--teacher", default="small-teacher")
    parser.add_argument("--window", type=int, default=16)
    parser.add_argument("--sinks", type=int, default=4)
    arguments = parser.parse_args()
    teacher = load(arguments.teacher).eval()
    chunks = ChunkDataset(split(embedded_root(), "valid"), teacher.config.stems, CHUNK, PER_SONG)
    print(f"teacher: {score(teacher, chunks):.3f} dB")
    narrowed = to_student(teacher, replace(teacher.config, window=arguments.window))
    print(f"window {arguments.window}, no sinks: {score(narrowed, chunks):.3f} dB")
    mixtures = torch.stack([chunks[index]["mixture"] for index in range(len(chunks))])
    for name, tokens in starts(teacher, arguments.sinks, mixtures).items():
        student = to_student(teacher, replace(teacher.config, window=arguments.window, sinks=arguments.sinks)).eval()
        student.sinks.copy_(tokens)
        print(f"{name:<38}{score(student, chunks):.3f} dB", flush=True)


if __name__ == "__main__":
    main()

"""Score students before any training, whose sinks start in different places.

Example: python experiments/sink_start/measure.py --teacher small-teacher --window 16 --sinks 4
"""

import argparse

import torch
from torch import Tensor

from wsa_lightning.checkpoints import load, to_student
from wsa_lightning.data.dataset import ChunkDataset
from wsa_lightning.data.songs import embedded_root
from wsa_lightning.data.splits import split
from wsa_lightning.metrics import UsdrPerSong
from wsa_lightning.models import Roformer

CHUNK = 88200
PER_SONG = 3


def starts(teacher: Roformer, sinks: int, chunks: ChunkDataset) -> dict[str, Tensor]:
    """Candidate sink tokens (S, K, D) by name."""
    bias = teacher.band_split.mean_feature().detach()  # (K, D)
    mixture = torch.stack([chunks[index]["mixture"] for index in range(len(chunks))])
    spectrum = teacher.spectral(mixture)
    tokens = teacher.band_split(torch.view_as_real(spectrum).permute(0, 3, 2, 1, 4).flatten(2, 3))
    measured = tokens.mean((0, 1))  # (K, D)
    print(f"|measured mean - bias| / |bias| = {float((measured - bias).norm() / bias.norm()):.4f}")
    rms = bias.square().mean().sqrt()
    noise = torch.randn(sinks, *bias.shape, generator=torch.Generator().manual_seed(0))
    return {
        "bias + 0.1 rms noise (ours)": bias + 0.1 * rms * noise,
        "measured mean + 0.1 rms noise": measured + 0.1 * rms * noise,
        "noise 0.02": 0.02 * noise,
        "noise at the tokens' rms": tokens.square().mean().sqrt() * noise,
    }


@torch.no_grad()
def score(model: Roformer, chunks: ChunkDataset) -> float:
    """Median uSDR over the songs, in dB."""
    metric = UsdrPerSong(len(chunks.song_names), len(model.config.stems))
    for index in range(len(chunks)):
        item = chunks[index]
        metric.update(model(item["mixture"][None]).audio, item["targets"][None], torch.tensor([item["song"]]))
    return float(metric.compute().median)


@torch.no_grad()
def main() -> None:
    """Print one row a start, with full attention and with the window."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--teacher", default="small-teacher")
    parser.add_argument("--window", type=int, default=16)
    parser.add_argument("--sinks", type=int, default=4)
    arguments = parser.parse_args()
    teacher = load(arguments.teacher).eval()
    chunks = ChunkDataset(split(embedded_root(), "valid"), teacher.config.stems, CHUNK, PER_SONG)
    print(f"teacher: {score(teacher, chunks):.3f} dB")
    print(f"window {arguments.window}, no sinks: {score(to_student(teacher, window=arguments.window), chunks):.3f} dB")
    for name, tokens in starts(teacher, arguments.sinks, chunks).items():
        row = []
        for window in (None, arguments.window):
            student = to_student(teacher, window=window, sinks=arguments.sinks).eval()
            student.sinks.copy_(tokens)
            row.append(f"window {window}: {score(student, chunks):.3f} dB")
        print(f"{name:<32}{', '.join(row)}")


if __name__ == "__main__":
    main()

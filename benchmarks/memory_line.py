"""How good the memory line before training is: estimated activations against the peak of a real step, on the CPU.

    python benchmarks/memory_line.py

One training step of the shipped student, in a process of its own for each setting; the peak is that of the resident
memory, read every 5 ms, above what the process held before the step.
"""

import contextlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import torch

from wsa_lightning.checkpoints import load
from wsa_lightning.losses import Estimate, Loss, Taught
from wsa_lightning.models import Roformer
from wsa_lightning.training.callbacks.memory import MIB, Context, estimate

LOSS = Loss({"audio/l1": 1.0, "audio/stft": 1.0, "distill/mask": 1.0})
SETTINGS = ("plain", "checkpointing", "bf16")
BATCH, SECONDS = 4, 2.0


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def step(net: Roformer, batch: int, samples: int, context: Context) -> None:
    """Forward and backward."""
    mixture = torch.randn(batch, 2, samples)
    with context():
        audio, mask = net(mixture)
        total, _ = LOSS(Estimate(audio, mixture[:, None], mask, {}, Taught(torch.zeros_like(mask), None, {})))
    total.backward()
    net.zero_grad()


def measure(setting: str) -> None:
    """Print one row."""
    net = load("small").train()
    net.activation_checkpointing = setting == "checkpointing"

    def context() -> contextlib.AbstractContextManager[None]:
        return torch.autocast("cpu", torch.bfloat16) if setting == "bf16" else contextlib.nullcontext()

    step(net, 1, 11025, context)
    samples = round(SECONDS * net.config.sample_rate)
    estimated = estimate(net, LOSS, BATCH, samples, teacher=None, average=False, context=context)["activations"]
    before = peak = resident()
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.is_set():
            peak = max(peak, resident())
            time.sleep(0.005)

    watcher = threading.Thread(target=watch)
    watcher.start()
    step(net, BATCH, samples, context)
    done.set()
    watcher.join()
    measured = peak - before
    print(f"| {setting} | {estimated / MIB:.0f} | {measured / MIB:.0f} | {measured / estimated:.2f} |", flush=True)


if __name__ == "__main__":
    if len(sys.argv) == 2:
        measure(sys.argv[1])
    else:
        print(f"| batch {BATCH}, {SECONDS:g} s | estimated, MiB | measured, MiB | measured / estimated |")
        print("|---|---|---|---|", flush=True)
        for name in SETTINGS:
            subprocess.run([sys.executable, __file__, name], check=True)

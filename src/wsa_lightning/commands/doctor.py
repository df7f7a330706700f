"""``doctor``: checks that everything a run needs works on this machine.

Every check imports what it looks at, so that a broken package is a finding and not the end of the command.
"""

import contextlib
import logging
import os
import platform
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from wsa_lightning.errors import UserError, first_line

if TYPE_CHECKING:
    import torch

GIB = 2**30
REQUIRED_DISK = 2 * GIB
TOLERANCE = 1e-4
STEPS = 3
PACKAGES = ("torch", "lightning", "torchmetrics", "soundfile", "safetensors", "numpy")


@dataclass(frozen=True)
class Finding:
    """One part that works, is missing (None) or is broken, and what to do about it."""

    part: str
    found: str
    works: bool | None = True
    remedy: str = ""

    def markup(self) -> str:
        """The line to print; a word says what the colour says."""
        colour, word = {True: ("green", "ok"), None: ("yellow", "missing"), False: ("red", "BROKEN")}[self.works]
        remedy = f"  -> {escape(self.remedy)}" if self.remedy else ""
        return f"[{colour}]{word:<8}{self.part:<22}[/{colour}]{escape(self.found)}{remedy}"


def doctor(root: Path | None = None, *, folder: Path = Path()) -> None:
    """Check everything a run needs on this machine, and say for each part whether it works and what to do if not.

    Green works, yellow is missing and only some commands need it, red is broken. Exit status 1 if anything is red.

    Args:
        root: a MUSDB18-HQ folder to check as well.
        folder: where runs will be written.
    """
    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False)
    checks = {
        "versions": versions(),
        "devices": devices(),
        "attention": attention(),
        "ffmpeg": ffmpeg(),
        "disk": disk(folder),
        "dataset": dataset(root),
        "training": training(),
    }
    findings = []
    for name, check in checks.items():
        for finding in run(name, check):
            findings.append(finding)
            console.print(finding.markup(), soft_wrap=True)
    broken = sum(finding.works is False for finding in findings)
    console.print(f"[red]{broken} of {len(findings)} broken[/red]" if broken else "[green]all is well[/green]")
    sys.exit(1 if broken else 0)


def run(name: str, check: Iterator[Finding]) -> Iterator[Finding]:
    """The findings of a check; an exception that ends it is a finding too."""
    try:
        yield from check
    except UserError as error:
        yield Finding(name, first_line(error), False)
    except Exception as error:
        remedy = "reinstall with constraints.txt; if it stays, report this line"
        yield Finding(name, f"{type(error).__name__}: {first_line(error)}", False, remedy)


def versions() -> Iterator[Finding]:
    """Python and the most important packages."""
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    ours = f"wsa-lightning {version('wsa-lightning')}, Python {platform.python_version()}"
    yield Finding("versions", f"{ours}, {packages}")


def devices() -> Iterator[Finding]:
    """Cores, memory, GPUs."""
    import psutil
    import torch

    free = psutil.virtual_memory().available
    yield Finding("cpu", f"{os.cpu_count()} cores, {free / GIB:.1f} GiB of memory free")
    for number in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(number)
        memory = f"{free / GIB:.1f} of {total / GIB:.1f} GiB free"
        yield Finding(f"gpu {number}", f"{torch.cuda.get_device_name(number)}, {memory}")
    if not torch.cuda.is_available():
        reason = "this PyTorch has no CUDA" if torch.version.cuda is None else "PyTorch sees no NVIDIA GPU"
        yield Finding("gpu", reason, None, "training works on the CPU, slowly; install PyTorch's CUDA build for a GPU")


def attention() -> Iterator[Finding]:
    """Every backend against the reference, output and gradients, on every kind of device."""
    import torch

    from wsa_lightning.attention import backends

    for kind in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        for backend in backends():
            part = f"attention {backend}"
            try:
                error = deviation(backend, torch.device(kind))
            except NotImplementedError as missing:
                reason = f"{kind}: no training ({first_line(missing)})"
                yield Finding(part, reason, None, "model.backend auto avoids it")
                continue
            works = error < TOLERANCE
            remedy = "" if works else "set model.backend reference, and report this line"
            yield Finding(part, f"{kind}: differs from the oracle by {error:.1e}", works, remedy)


def deviation(backend: str, device: "torch.device") -> float:
    """Largest difference of output and gradients from the reference backend, relative to the reference's largest."""
    import torch

    from wsa_lightning.attention import windowed_sink_attention

    def compute(name: str) -> list[torch.Tensor]:
        generator = torch.Generator().manual_seed(0)
        qkv = [torch.randn(2, 2, 4 + 50, 16, generator=generator).to(device).requires_grad_() for _ in range(3)]
        out = windowed_sink_attention(*qkv, window=10, sinks=4, backend=name)
        out.square().sum().backward()
        return [out.detach(), *(tensor.grad for tensor in qkv if tensor.grad is not None)]

    pairs = zip(compute(backend), compute("reference"), strict=True)
    return max(float((ours - oracle).abs().max() / oracle.abs().max()) for ours, oracle in pairs)


def ffmpeg() -> Iterator[Finding]:
    """Only ``data decode`` needs it."""
    found = shutil.which("ffmpeg") if shutil.which("ffprobe") else None
    remedy = "" if found else "only `data decode` needs it: install ffmpeg (apt install ffmpeg)"
    yield Finding("ffmpeg", found or "not on the PATH", True if found else None, remedy)


def disk(folder: Path) -> Iterator[Finding]:
    """Whether runs can be written."""
    existing = next(place for place in (folder.resolve(), *folder.resolve().parents) if place.exists())
    free = shutil.disk_usage(existing).free
    if not os.access(existing, os.W_OK):
        remedy = "name another --folder and trainer.default_root_dir"
        yield Finding("disk", f"{existing} cannot be written to", False, remedy)
        return
    works = free >= REQUIRED_DISK
    advice = "free some, or set trainer.default_root_dir elsewhere: a checkpoint is about 5 times the weights"
    yield Finding("disk", f"{free / GIB:.1f} GiB free in {existing}", works, "" if works else advice)


def dataset(root: Path | None) -> Iterator[Finding]:
    """The songs of a MUSDB18-HQ folder, by their headers."""
    from wsa_lightning.data.splits import split

    if root is None:
        yield Finding("dataset", "none named: the embedded songs will be composed on first use")
        return
    songs = ", ".join(f"{len(split(root, name))} {name}" for name in ("train", "valid", "test"))
    yield Finding("dataset", f"{songs} songs in {root}; `data check` looks at every sample")


def training() -> Iterator[Finding]:
    """Three steps of distillation from the shipped teacher, and the same steps interrupted and resumed."""
    import torch

    from wsa_lightning.data.embedded import make_tracks

    logging.disable(logging.WARNING)  # what Lightning says about these runs; the command ends after them
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as temporary:
        songs, whole, interrupted = (Path(temporary) / name for name in ("songs", "whole", "interrupted"))
        make_tracks(songs, train=2, test=1, seconds=1.5, seed=0, workers=1)
        expected = fit(songs, whole)
        device = "gpu" if torch.cuda.is_available() else "cpu"
        yield Finding("fit", f"{STEPS} steps on the {device}, weights finite", bool(expected.isfinite().all()))
        with contextlib.suppress(InterruptedError):
            fit(songs, interrupted, stop_at=STEPS - 1)
        resumed = fit(songs, interrupted)
    if torch.equal(expected, resumed):
        yield Finding("resume", "bit for bit the same weights")
    elif device == "gpu" and torch.allclose(expected, resumed, atol=1e-4):
        yield Finding("resume", "close weights")  # some GPU kernels add in another order each time
    else:
        yield Finding("resume", "other weights", False, "report this line: a resumed run would differ")


def fit(songs: Path, folder: Path, stop_at: int | None = None) -> "torch.Tensor":
    """Train a student of the shipped teacher, from ``last.ckpt`` if there is one, and return its weights.

    Raises:
        InterruptedError: after ``stop_at`` steps.
    """
    import lightning as L
    import torch
    from lightning.pytorch.callbacks import LambdaCallback

    from wsa_lightning.reliability.checkpoint_io import AtomicCheckpointIO
    from wsa_lightning.reliability.finite import FiniteCallback
    from wsa_lightning.reliability.recovery import RecoveryCallback, path
    from wsa_lightning.training import MUSDBDataModule, StudentModule
    from wsa_lightning.training.callbacks.averaging import EMACallback
    from wsa_lightning.training.callbacks.distillation import DistillationCallback

    def stop(trainer: L.Trainer, *_: object) -> None:
        if trainer.global_step == stop_at:
            raise InterruptedError

    L.seed_everything(0, verbose=False)
    callbacks = [DistillationCallback(), EMACallback(), FiniteCallback(), RecoveryCallback()]
    trainer = L.Trainer(
        max_steps=STEPS,
        callbacks=[*callbacks, LambdaCallback(on_train_batch_start=stop)],
        plugins=AtomicCheckpointIO(),
        logger=False,
        devices=1,
        default_root_dir=folder,
        limit_val_batches=0,
        use_distributed_sampler=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    student = StudentModule(window=16, sinks=4, loss={"audio/l1": 1.0, "distill/mask": 1.0})
    data = MUSDBDataModule(songs, chunk_seconds=0.25, batch_size=1, steps_per_epoch=STEPS, workers=0)
    last = path(trainer)
    trainer.fit(student, data, ckpt_path=last if last.exists() else None)
    return torch.nn.utils.parameters_to_vector(student.net.parameters()).detach().cpu()

"""``doctor``: does everything that a run needs work here?"""

import contextlib
import logging
import os
import platform
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning as L
import torch
from rich.console import Console
from rich.markup import escape
from torch import Tensor

from wsa_lightning.attention import backends, windowed_sink_attention
from wsa_lightning.data.embedded import make_tracks
from wsa_lightning.data.splits import split
from wsa_lightning.errors import UserError, first_line
from wsa_lightning.reliability.checkpoint_io import AtomicCheckpointIO
from wsa_lightning.reliability.finite import FiniteCallback
from wsa_lightning.reliability.recovery import RecoveryCallback, path
from wsa_lightning.training import MUSDBDataModule, StudentModule
from wsa_lightning.training.callbacks.averaging import EMACallback
from wsa_lightning.training.callbacks.distillation import DistillationCallback
from wsa_lightning.training.callbacks.memory import free_memory

GIB = 2**30
LEAST_DISK = 2 * GIB
TOLERANCE = 1e-4
STEPS = 3
PACKAGES = ("torch", "lightning", "torchmetrics", "soundfile", "safetensors", "numpy")


@dataclass(frozen=True)
class Line:
    """One finding: fine, wanting (None) or broken, and what to do about it."""

    what: str
    found: str
    fine: bool | None = True
    remedy: str = ""


def doctor(root: Path | None = None, *, folder: Path = Path()) -> None:
    """Try everything a run needs on this machine, and say for each part whether it works and what to do if not.

    Green works, yellow is missing and only some commands need it, red is broken. Exit status 1 if anything is red.

    Args:
        root: a MUSDB18-HQ folder to look at as well.
        folder: where runs will be written.
    """
    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False)
    lines = []
    checks: dict[str, Callable[[], Iterator[Line]]] = {
        "versions": versions,
        "devices": devices,
        "attention": attention,
        "ffmpeg": ffmpeg,
        "disk": lambda: disk(folder),
        "dataset": lambda: dataset(root),
        "training": training,
    }
    for name, check in checks.items():
        for line in guarded(name, check):
            lines.append(line)
            console.print(rendered(line), soft_wrap=True)
    broken = sum(line.fine is False for line in lines)
    console.print(f"[red]{broken} of {len(lines)} broken[/red]" if broken else "[green]all is well[/green]")
    sys.exit(1 if broken else 0)


def guarded(name: str, check: Callable[[], Iterator[Line]]) -> Iterator[Line]:
    """The lines of a check; a check that fails is a red line."""
    try:
        yield from check()
    except Exception as error:  # whatever is broken here is the finding
        reason = first_line(error, most=600)
        remedy = "" if isinstance(error, UserError) else "reinstall with constraints.txt; if it stays, report this line"
        yield Line(name, f"{type(error).__name__}: {reason}" if remedy else reason, False, remedy)


def rendered(line: Line) -> str:
    """A line with its colour and word, for terminals without colours."""
    colour, word = {True: ("green", "ok"), None: ("yellow", "missing"), False: ("red", "BROKEN")}[line.fine]
    remedy = f"  -> {escape(line.remedy)}" if line.remedy else ""
    return f"[{colour}]{word:<8}{line.what:<22}[/{colour}]{escape(line.found)}{remedy}"


def versions() -> Iterator[Line]:
    """Python and the packages that matter."""
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    yield Line("versions", f"wsa-lightning {version('wsa-lightning')}, Python {platform.python_version()}, {packages}")


def devices() -> Iterator[Line]:
    """Cores, memory, GPUs."""
    free = free_memory(torch.device("cpu"))
    memory = "" if free is None else f", {free / GIB:.1f} GiB of memory free"
    yield Line("cpu", f"{os.cpu_count()} cores{memory}")
    for number in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(number)
        yield Line(
            f"gpu {number}", f"{torch.cuda.get_device_name(number)}, {free / GIB:.1f} of {total / GIB:.1f} GiB free"
        )
    if not torch.cuda.is_available():
        built = "this PyTorch has no CUDA" if torch.version.cuda is None else "PyTorch sees no NVIDIA GPU"
        yield Line("gpu", built, None, "training works on the CPU, slowly; install PyTorch's CUDA build for a GPU")


def attention() -> Iterator[Line]:
    """Every backend against the oracle, output and gradients, on every kind of device."""
    kinds = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    for kind in kinds:
        for backend in backends():
            try:
                error = deviation(backend, torch.device(kind))
            except NotImplementedError as missing:
                reason = first_line(missing)
                yield Line(
                    f"attention {backend}", f"{kind}: no training ({reason})", None, "model.backend auto avoids it"
                )
                continue
            fine = error < TOLERANCE
            remedy = "" if fine else "set model.backend reference, and report this line"
            yield Line(f"attention {backend}", f"{kind}: differs from the oracle by {error:.1e}", fine, remedy)


def deviation(backend: str, device: torch.device) -> float:
    """Largest difference of output and gradients from the reference backend, relative to the reference's largest."""

    def run(name: str) -> list[Tensor]:
        generator = torch.Generator().manual_seed(0)
        qkv = [torch.randn(2, 2, 4 + 50, 16, generator=generator).to(device).requires_grad_() for _ in range(3)]
        out = windowed_sink_attention(*qkv, window=10, sinks=4, backend=name)
        out.square().sum().backward()
        return [out.detach(), *(tensor.grad for tensor in qkv if tensor.grad is not None)]

    pairs = zip(run(backend), run("reference"), strict=True)
    return max(float((ours - oracle).abs().max() / oracle.abs().max()) for ours, oracle in pairs)


def ffmpeg() -> Iterator[Line]:
    """Only ``data decode`` needs it."""
    found = shutil.which("ffmpeg") if shutil.which("ffprobe") else None
    remedy = "" if found else "only `data decode` needs it: install ffmpeg (apt install ffmpeg)"
    yield Line("ffmpeg", found or "not on the PATH", True if found else None, remedy)


def disk(folder: Path) -> Iterator[Line]:
    """Whether runs can be written."""
    existing = next(place for place in (folder.resolve(), *folder.resolve().parents) if place.exists())
    free = shutil.disk_usage(existing).free
    if not os.access(existing, os.W_OK):
        yield Line(
            "disk", f"{existing} cannot be written to", False, "name another --folder and trainer.default_root_dir"
        )
    elif free < LEAST_DISK:
        remedy = "free some, or set trainer.default_root_dir elsewhere: a checkpoint is about 5 times the weights"
        yield Line("disk", f"{free / GIB:.1f} GiB free in {existing}", False, remedy)
    else:
        yield Line("disk", f"{free / GIB:.1f} GiB free in {existing}")


def dataset(root: Path | None) -> Iterator[Line]:
    """The songs of a MUSDB18-HQ folder, by their headers."""
    if root is None:
        yield Line("dataset", "none named: the embedded songs will be composed on first use")
        return
    counts = {name: len(split(root, name)) for name in ("train", "valid", "test")}
    songs = ", ".join(f"{count} {name}" for name, count in counts.items())
    yield Line("dataset", f"{songs} songs in {root}; `data check` looks at every sample")


class _Stop(L.Callback):
    """Ends a run by an exception after ``step`` steps."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Stop."""
        if trainer.global_step == self.step:
            raise KeyError("stopped on purpose")


def training() -> Iterator[Line]:
    """Three steps of distillation from the shipped teacher, and the same ones killed and resumed."""
    with tempfile.TemporaryDirectory() as temporary, quiet():
        place = Path(temporary)
        make_tracks(place / "songs", train=2, test=1, seconds=1.5, seed=0, workers=1)
        whole = fit(place / "songs", place / "whole")
        device = "gpu" if torch.cuda.is_available() else "cpu"
        yield Line("fit", f"{STEPS} steps on the {device}, weights finite", bool(whole.isfinite().all()))
        with contextlib.suppress(KeyError):
            fit(place / "songs", place / "killed", _Stop(STEPS - 1))
        resumed = fit(place / "songs", place / "killed")
        same = bool(torch.equal(whole, resumed))
        # Some GPU kernels add in another order each time.
        fine = same or (device == "gpu" and bool(torch.allclose(whole, resumed, atol=1e-4)))
        found = "bit for bit the same weights" if same else "close weights" if fine else "other weights"
        yield Line("resume", found, fine, "" if fine else "report this line: a resumed run would differ")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what Lightning says of its runs off the terminal."""
    names = ("lightning", "lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero")
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def fit(songs: Path, folder: Path, *more: L.Callback) -> Tensor:
    """Train a student of the shipped teacher, from ``last.ckpt`` where there is one, and return its weights."""
    L.seed_everything(0, verbose=False)
    callbacks = [DistillationCallback(), EMACallback(), FiniteCallback(), RecoveryCallback(), *more]
    trainer = L.Trainer(
        max_steps=STEPS,
        callbacks=callbacks,
        plugins=AtomicCheckpointIO(),
        logger=False,
        devices=1,
        default_root_dir=folder,
        limit_val_batches=0,
        use_distributed_sampler=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    student = StudentModule(window=16, sinks=4, loss={"audio/l1": 1.0, "distill/mask": 1.0}, warmup_steps=1)
    data = MUSDBDataModule(songs, chunk_seconds=0.25, batch_size=1, steps_per_epoch=STEPS, workers=0)
    last = path(trainer)
    trainer.fit(student, data, ckpt_path=last if last.exists() else None)
    return torch.nn.utils.parameters_to_vector(student.net.parameters()).detach().cpu()

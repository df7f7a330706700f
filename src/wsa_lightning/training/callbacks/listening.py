"""Something to hear and see at every validation: mixture, teacher, student, target, and their spectrograms."""

from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from matplotlib.figure import Figure
from torch import Tensor

from wsa_lightning.training.callbacks.distillation import DistillationCallback
from wsa_lightning.training.module import SeparationModule
from wsa_lightning.training.student import StudentModule


class ListeningCallback(L.Callback):
    """Logs one fixed validation chunk as audio and as spectrograms to TensorBoard.

    The chunk is the one of the first few whose targets are loudest. Mixture, target and teacher never change and
    are logged once.

    Args:
        enabled: false logs nothing.
    """

    def __init__(self, enabled: bool = True) -> None:
        self.enabled = enabled
        self._fixed: dict[str, Tensor] | None = None

    @rank_zero_only
    @torch.no_grad()
    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Run the chunk through the weights that are validated (the average, which is in place by now)."""
        if (
            not self.enabled
            or not isinstance(trainer.logger, TensorBoardLogger)
            or getattr(trainer, "fast_dev_run", False)
        ):
            return
        if not isinstance(pl_module, SeparationModule):
            return
        first = self._fixed is None
        if self._fixed is None:
            self._fixed = self._make_fixed(trainer, pl_module)
        mixture = self._fixed["mixture"]
        own_name = "student" if isinstance(pl_module, StudentModule) else "teacher"
        estimate = pl_module(mixture[None].to(pl_module.device)).audio[0].float().cpu()  # (stems, C, N)
        rate, step = pl_module.net.config.sample_rate, trainer.global_step
        writer = trainer.logger.experiment
        if first:
            add_audio(writer, "listening/mixture", mixture, step, rate)
        for number, stem in enumerate(pl_module.net.config.stems):
            pictures = {"mixture": mixture}
            for name in ("target", "teacher"):
                if name in self._fixed:
                    pictures[name] = self._fixed[name][number]
                    if first:
                        add_audio(writer, f"listening/{stem}/{name}", pictures[name], step, rate)
            pictures[own_name] = estimate[number]
            add_audio(writer, f"listening/{stem}/{own_name}", estimate[number], step, rate)
            writer.add_figure(f"listening/{stem}", spectrograms(pictures, rate), step)

    def _make_fixed(self, trainer: L.Trainer, pl_module: SeparationModule) -> dict[str, Tensor]:
        """Mixture (C, N), target and, where there is one, the teacher's estimate (stems, C, N)."""
        item: dict[str, Any] = trainer.datamodule.listening_item()  # type: ignore[attr-defined]
        fixed = {"mixture": item["mixture"], "target": item["targets"]}
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, DistillationCallback) and callback.teacher is not None:
                teacher = callback.teacher.to(pl_module.device)
                fixed["teacher"] = teacher(item["mixture"][None].to(pl_module.device)).audio[0].float().cpu()
        return fixed


def add_audio(writer: Any, tag: str, audio: Tensor, step: int, rate: int) -> None:
    """Log audio (C, N) as mono, turned down where it would clip."""
    mono = audio.mean(0)
    writer.add_audio(tag, mono / mono.abs().max().clamp_min(1.0), step, sample_rate=rate)


def spectrograms(pictures: dict[str, Tensor], rate: int) -> Figure:
    """Magnitudes in dB below the loudest bin of the mixture, one panel a signal (C, N), on one scale."""
    figure = Figure(figsize=(3.2 * len(pictures), 3.2), layout="constrained")
    panels = figure.subplots(1, len(pictures), sharey=True, squeeze=False)[0]
    window = torch.hann_window(2048)
    top: float | None = None
    for panel, (name, audio) in zip(panels, pictures.items(), strict=True):
        magnitude = torch.stft(audio.mean(0), 2048, 512, window=window, return_complex=True).abs()
        level = 20 * magnitude.clamp_min(1e-7).log10()
        top = float(level.max()) if top is None else top
        panel.imshow(
            level.numpy(),
            origin="lower",
            aspect="auto",
            cmap="magma",
            vmin=top - 80,
            vmax=top,
            extent=(0, audio.shape[-1] / rate, 0, rate / 2000),
        )
        panel.set(title=name, xlabel="s", ylim=(0, 8))
    panels[0].set_ylabel("kHz")
    return figure

"""Something to hear and see at every validation: mixture, teacher, student, target, and their spectrograms."""

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_only
from matplotlib.figure import Figure
from torch import Tensor

from wsa_lightning.models import Roformer
from wsa_lightning.reliability.internals import is_dry_run
from wsa_lightning.training.data_protocol import SeparationDataModule
from wsa_lightning.training.media import log_audio, log_figure, takes_media
from wsa_lightning.training.module import SeparationModule
from wsa_lightning.training.student import StudentModule


class ListeningCallback(L.Callback):
    """Logs one fixed validation chunk as audio and as spectrograms to every logger that takes them.

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
        if not self.enabled or is_dry_run(trainer) or not any(map(takes_media, trainer.loggers)):
            return
        if not isinstance(pl_module, SeparationModule):
            return
        rate, step = pl_module.net.config.sample_rate, trainer.global_step
        first = self._fixed is None
        if self._fixed is None:
            self._fixed = _fixed_signals(pl_module, pl_module.data)
            log_audio(trainer, "listening/mixture", self._fixed["mixture"], rate, step)
        own_name = "student" if isinstance(pl_module, StudentModule) else "teacher"
        estimate = _separated(pl_module.net, self._fixed["mixture"], pl_module.device)  # (stems, C, N)
        for number, stem in enumerate(pl_module.net.config.stems):
            pictures = {
                name: signal if name == "mixture" else signal[number] for name, signal in self._fixed.items()
            } | {own_name: estimate[number]}
            for name, signal in pictures.items():
                if name == own_name or (first and name != "mixture"):
                    log_audio(trainer, f"listening/{stem}/{name}", signal, rate, step)
            log_figure(trainer, f"listening/{stem}", spectrograms(pictures, rate), step)


def _fixed_signals(module: SeparationModule, data: SeparationDataModule) -> dict[str, Tensor]:
    """Mixture (C, N), target and, where there is one, the teacher's estimate (stems, C, N)."""
    item = data.listening_item()
    fixed = {"mixture": item["mixture"], "target": item["targets"]}
    if module.teacher is not None:
        fixed["teacher"] = _separated(module.teacher.network, item["mixture"], module.device)
    return fixed


def _separated(network: Roformer, mixture: Tensor, device: torch.device) -> Tensor:
    return network(mixture[None].to(device)).audio[0].float().cpu()


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

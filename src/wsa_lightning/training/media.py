"""Audio, figures and hyper-parameters, to every logger that can show them."""

from typing import Any

import lightning as L
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from matplotlib.figure import Figure
from torch import Tensor


def log_audio(trainer: L.Trainer, tag: str, audio: Tensor, rate: int, step: int) -> None:
    """Log audio (C, N) as mono, turned down where it would clip."""
    mono = audio.mean(0)
    mono = mono / mono.abs().max().clamp_min(1.0)  # (N,)
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_audio(tag, mono, step, sample_rate=rate)
        elif takes_media(logger):
            logger.log_audio(tag, [mono.numpy()], step=step, sample_rate=[rate])  # type: ignore[attr-defined]


def log_figure(trainer: L.Trainer, tag: str, figure: Figure, step: int) -> None:
    """Log a figure as an image."""
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_figure(tag, figure, step)
        elif takes_media(logger):
            logger.log_image(tag, [figure], step=step)  # type: ignore[attr-defined]


def log_hyperparameters(trainer: L.Trainer, values: dict[str, Any], scores: dict[str, float]) -> None:
    """Log hyper-parameters; TensorBoard's table gets the scores beside them."""
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.log_hyperparams(values, scores, step=trainer.global_step)
        else:
            logger.log_hyperparams(values)


def takes_media(logger: Logger) -> bool:
    """Whether a logger takes audio and figures: TensorBoard's, and those with ``log_audio`` as wandb's."""
    return isinstance(logger, TensorBoardLogger) or (hasattr(logger, "log_audio") and hasattr(logger, "log_image"))

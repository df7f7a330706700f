"""The teacher beside a student: what it computes for a training step, and what its scores are compared with."""

import math
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wsa_lightning.checkpoints import load
from wsa_lightning.checkpoints.model_files import file_hash
from wsa_lightning.losses import Taught
from wsa_lightning.models import Roformer
from wsa_lightning.models.taps import TAPS, tapped


class FrozenTeacher:
    """A network that teaches and does not learn.

    It is not an ``nn.Module``: a student that refers to it does not get its parameters, so it stays outside optimizer,
    DDP and checkpoint. Copies of the student (the average of the weights) refer to the same teacher.

    Args:
        path: a model file (ours or public), or the name of a shipped model.
        config: the YAML of a public file; None takes the one beside it, if there is one.

    Attributes:
        network: the frozen network.
        sha256: hash of the file.
        score: median uSDR over the validation songs in dB; None until a whole validation has measured it.
        baseline: the same of the student at step 0.
    """

    def __init__(self, path: str, config: Path | None = None) -> None:
        self.network: Roformer = load(path, config=config).requires_grad_(False).eval()
        self.path, self.sha256 = path, file_hash(path)
        self.score: float | None = None
        self.baseline: float | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> "FrozenTeacher":
        return self

    @torch.no_grad()
    def teach(self, mixture: Tensor, needs: Collection[str], mean: Callable[[Tensor], Tensor]) -> Taught:
        """What the loss terms need of the teacher for mixtures (B, C, N).

        Args:
            mixture: what the student is given.
            needs: see ``losses.terms.Term``.
            mean: the mean of a scalar over all processes, so that they learn what one would from the whole batch.
        """
        spectrum = self.network.spectral(mixture)  # (B, C, F, T)
        with tapped(self.network, set(needs) & set(TAPS)) as features:
            mask = self.network.estimate_mask(spectrum)  # (B, stems, C, F, T)
        weight = None
        if "mask_weight" in needs:
            magnitude = spectrum.abs()  # (B, C, F, T)
            weight = magnitude / mean(magnitude.mean()).clamp_min(1e-12)
        return Taught(mask, weight, features)

    def compare(self, student: float, teacher: float) -> dict[str, float]:
        """The four figures that ``DistillationCallback`` documents, from two median uSDRs in dB."""
        scores = {
            "val/teacher_usdr": teacher,
            "val/delta_db": student - teacher,
            "val/retained": student / teacher if teacher > 0 else math.nan,
        }
        if self.baseline is not None and teacher != self.baseline:
            scores["val/recovered"] = (student - self.baseline) / (teacher - self.baseline)
        return scores

"""The loss terms; the name of each is its key in YAML and its tag in TensorBoard."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from wsa_lightning.errors import UserError
from wsa_lightning.losses.stft_distance import multi_resolution_stft_distance


class Estimate(NamedTuple):
    """What a loss term can be computed from.

    Attributes:
        audio: estimated stems (B, stems, C, N).
        target: true stems (B, stems, C, N).
        mask: the student's complex mask (B, stems, C, F, T).
        teacher_mask: the teacher's; None without a teacher.
        mask_weight: weights of the bins of a mask (B, C, F, T), 1 on average; None without a teacher.
        features: activations of the student by tap (``models.taps.TAPS``), one tensor per layer.
        teacher_features: those of the teacher; None without a teacher.
    """

    audio: Tensor
    target: Tensor
    mask: Tensor
    teacher_mask: Tensor | None = None
    mask_weight: Tensor | None = None
    features: Mapping[str, Sequence[Tensor]] | None = None
    teacher_features: Mapping[str, Sequence[Tensor]] | None = None


class Term(Protocol):
    """A loss term: any callable, such as a function, or an object that holds parameters."""

    def __call__(self, estimate: Estimate) -> Tensor:
        """A scalar in fp32."""


def audio_l1(estimate: Estimate) -> Tensor:
    """Mean |estimate - target| over all samples."""
    return (estimate.audio - estimate.target).float().abs().mean()


def audio_stft(estimate: Estimate) -> Tensor:
    """Sum over windows {4096 ... 256} of the mean |STFT(estimate) - STFT(target)|, complex, hop 147, Hann.

    n_fft = max(window, 2048); the multi-resolution loss of the public Roformers' training.
    """
    return multi_resolution_stft_distance(estimate.audio, estimate.target)


def distill_mask(estimate: Estimate) -> Tensor:
    """Mean |M_student - M_teacher| over (B, stems, C, F, T), complex, in fp32."""
    return _mask_distance(estimate).mean()


def distill_mask_weighted(estimate: Estimate) -> Tensor:
    """``distill/mask`` with every bin weighted by |mixture spectrum| over its mean."""
    if estimate.mask_weight is None:
        raise _without_teacher("distill/mask_weighted")
    return (_mask_distance(estimate) * estimate.mask_weight[:, None]).mean()


def distill_hidden(estimate: Estimate) -> Tensor:
    """Mean over layers of the squared distance of their outputs from the teacher's, relative to the teacher's energy.

    Relative, so that no layer outweighs the others. Sources: FitNets (arXiv 1412.6550), TinyBERT (arXiv 1909.10351).
    """
    return _feature_distance(estimate, "hidden")


def distill_attention(estimate: Estimate) -> Tensor:
    """The distance of ``distill_hidden`` between the outputs of the time attentions, where the student differs.

    Source: the attention transfer of LoLCATs (arXiv 2410.10254), here for the student's own hidden states.
    """
    return _feature_distance(estimate, "attention")


def _feature_distance(estimate: Estimate, tap: str) -> Tensor:
    if estimate.features is None or estimate.teacher_features is None:
        raise _without_teacher(f"distill/{tap}")
    pairs = zip(estimate.features[tap], estimate.teacher_features[tap], strict=True)
    distances = [
        (own.float() - taught.float()).square().sum() / taught.float().square().sum().clamp_min(1e-12)
        for own, taught in pairs
    ]
    return torch.stack(distances).mean()


def _mask_distance(estimate: Estimate) -> Tensor:
    if estimate.teacher_mask is None:
        raise _without_teacher("distill/mask")
    return (estimate.mask - estimate.teacher_mask).abs()


def _without_teacher(term: str) -> UserError:
    return UserError(f"{term} needs a teacher: set distillation.teacher, or leave the term out of model.loss")


TERMS: dict[str, Term] = {
    "audio/l1": audio_l1,
    "audio/stft": audio_stft,
    "distill/mask": distill_mask,
    "distill/mask_weighted": distill_mask_weighted,
    "distill/hidden": distill_hidden,
    "distill/attention": distill_attention,
}
TAPS_OF_TERMS = {"distill/hidden": "hidden", "distill/attention": "attention"}


def taps_needed(weights: Mapping[str, float]) -> set[str]:
    """The taps (``models.taps``) that the terms of positive weight need."""
    return {TAPS_OF_TERMS[name] for name, weight in weights.items() if weight and name in TAPS_OF_TERMS}


def check_weights(weights: Mapping[str, float]) -> None:
    """Raise ``UserError`` for an unknown term, a negative weight, or no positive weight."""
    unknown = sorted(set(weights) - set(TERMS))
    if unknown:
        raise UserError(f"model.loss names unknown terms {unknown}: expected some of {', '.join(TERMS)}")
    negative = {name: weight for name, weight in weights.items() if not weight >= 0}
    if negative:
        raise UserError(f"model.loss has weights {negative}: expected numbers >= 0")
    if not any(weights.values()):
        raise UserError("model.loss is empty or all zero: expected at least one term with a positive weight")


def weighted_sum(weights: Mapping[str, float], estimate: Estimate) -> tuple[Tensor, dict[str, Tensor]]:
    """The total loss, and every term by name without its weight; terms of weight 0 are not computed."""
    terms = {name: TERMS[name](estimate) for name, weight in weights.items() if weight}
    total = torch.stack([weights[name] * value for name, value in terms.items()]).sum()
    return total, terms

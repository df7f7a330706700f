"""The loss terms, and their weighted sum; the name of a term is its key in YAML and its tag in TensorBoard."""

import inspect
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from wsa_lightning.errors import UserError
from wsa_lightning.losses.stft_distance import multi_resolution_stft_distance
from wsa_lightning.models.taps import TAPS

Features = Mapping[str, Sequence[Tensor]]
"""Activations of a model by tap (``models.taps.TAPS``), one tensor per layer."""


class Taught(NamedTuple):
    """What the teacher computed from the student's mixture.

    Attributes:
        mask: the teacher's complex mask (B, stems, C, F, T).
        mask_weight: weight of each bin of a mask (B, C, F, T), 1 on average; None unless a term needs it.
        features: the teacher's features, at the taps that the terms need.
    """

    mask: Tensor
    mask_weight: Tensor | None
    features: Features


class Estimate(NamedTuple):
    """What a loss term can be computed from.

    Attributes:
        audio: estimated stems (B, stems, C, N).
        target: true stems (B, stems, C, N).
        mask: the student's complex mask (B, stems, C, F, T).
        features: the student's features, at the taps that the terms need.
        taught: what the teacher computed; None without a teacher, or if no term needs one.
    """

    audio: Tensor
    target: Tensor
    mask: Tensor
    features: Features = MappingProxyType({})
    taught: Taught | None = None


class Term(NamedTuple):
    """A named loss.

    Attributes:
        function: an ``Estimate`` and the term's own parameters to a scalar in fp32.
        needs: what must be computed for it besides the student's output: ``teacher``, ``mask_weight``, taps.
    """

    function: Callable[..., Tensor]
    needs: frozenset[str]


TERMS: dict[str, Term] = {}
NEEDS = frozenset({"teacher", "mask_weight", *TAPS})


def loss_term(name: str, *, needs: Collection[str] = ()) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """Decorator that registers a function as the loss term ``name`` of ``model.loss`` and TensorBoard.

    The function takes an ``Estimate`` and, as keyword arguments with defaults, its own parameters, which YAML gives
    beside the weight: ``{my/term: {weight: 0.5, delta: 0.1}}``.

    Args:
        name: group and name, such as ``audio/l1``.
        needs: ``teacher`` if it uses ``Estimate.taught``; also ``mask_weight``, and any of ``models.taps.TAPS``.

    Raises:
        ValueError: a name that is taken, or an unknown need.
    """
    if unknown := set(needs) - NEEDS:
        raise ValueError(f"loss term {name!r} needs {sorted(unknown)}: expected some of {sorted(NEEDS)}")

    def register(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        if name in TERMS and TERMS[name].function is not function:
            raise ValueError(f"a loss term {name!r} exists already: choose another name")
        TERMS[name] = Term(function, frozenset(needs))
        return function

    return register


@loss_term("audio/l1")
def audio_l1(estimate: Estimate) -> Tensor:
    """Mean |estimate - target| over all samples."""
    return (estimate.audio - estimate.target).float().abs().mean()


@loss_term("audio/stft")
def audio_stft(estimate: Estimate) -> Tensor:
    """Sum over windows {4096 ... 256} of the mean |STFT(estimate) - STFT(target)|, complex, hop 147, Hann.

    n_fft = max(window, 2048); the multi-resolution loss of the public Roformers' training.
    """
    return multi_resolution_stft_distance(estimate.audio, estimate.target)


@loss_term("distill/mask", needs={"teacher"})
def distill_mask(estimate: Estimate) -> Tensor:
    """Mean |M_student - M_teacher| over (B, stems, C, F, T), complex, in fp32."""
    return _mask_distance(estimate).mean()


@loss_term("distill/mask_weighted", needs={"teacher", "mask_weight"})
def distill_mask_weighted(estimate: Estimate) -> Tensor:
    """``distill/mask`` with every bin weighted by |mixture spectrum| over its mean."""
    weight = _taught(estimate).mask_weight
    if weight is None:
        raise UserError("distill/mask_weighted needs the weights of the bins, Taught.mask_weight")
    return (_mask_distance(estimate) * weight[:, None]).mean()


@loss_term("distill/hidden", needs={"teacher", "hidden"})
def distill_hidden(estimate: Estimate) -> Tensor:
    """Mean over layers of the squared distance of their outputs from the teacher's, relative to the teacher's energy.

    Relative, so that no layer outweighs the others. Sources: FitNets (arXiv 1412.6550), TinyBERT (arXiv 1909.10351).
    """
    return _feature_distance(estimate, "hidden")


@loss_term("distill/attention", needs={"teacher", "attention"})
def distill_attention(estimate: Estimate) -> Tensor:
    """The distance of ``distill_hidden`` between the outputs of the time attentions, where the student differs.

    Source: the attention transfer of LoLCATs (arXiv 2410.10254), here for the student's own hidden states.
    """
    return _feature_distance(estimate, "attention")


def _feature_distance(estimate: Estimate, tap: str) -> Tensor:
    pairs = zip(estimate.features[tap], _taught(estimate).features[tap], strict=True)
    distances = [
        (own.float() - taught.float()).square().sum() / taught.float().square().sum().clamp_min(1e-12)
        for own, taught in pairs
    ]
    return torch.stack(distances).mean()


def _mask_distance(estimate: Estimate) -> Tensor:
    return (estimate.mask - _taught(estimate).mask).abs()


def _taught(estimate: Estimate) -> Taught:
    if estimate.taught is None:
        raise UserError("distill/* needs a teacher: set distillation.teacher, or leave the term out of model.loss")
    return estimate.taught


class Loss:
    """A weighted sum of named terms.

    Args:
        terms: ``name: weight``, or ``name: {weight: ..., PARAMETER: ...}`` for a term with parameters of its own. Terms
            of weight 0 are not computed.

    Raises:
        UserError: an unknown term or parameter, a weight that is not a finite number >= 0, or no positive weight.
    """

    def __init__(self, terms: Mapping[str, float | Mapping[str, float]]) -> None:
        if unknown := sorted(set(terms) - set(TERMS)):
            raise UserError(f"model.loss names unknown terms {unknown}: expected some of {', '.join(TERMS)}")
        self.weights: dict[str, float] = {}
        self.parameters: dict[str, dict[str, float]] = {}
        for name, given in terms.items():
            parameters: dict[str, Any] = {**given} if isinstance(given, Mapping) else {"weight": given}
            weight = parameters.pop("weight", 1.0)
            if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 <= weight < math.inf:
                raise UserError(f"model.loss.{name} has weight {weight!r}: expected a finite number >= 0")
            if weight:
                self.weights[name], self.parameters[name] = weight, _checked_parameters(name, parameters)
        if not self.weights:
            raise UserError("model.loss is empty or all zero: expected at least one term with a positive weight")
        self.needs = frozenset().union(*(TERMS[name].needs for name in self.weights))
        self.taps = self.needs & set(TAPS)

    def __call__(self, estimate: Estimate) -> tuple[Tensor, dict[str, Tensor]]:
        """The total loss, and every term by name without its weight."""
        terms = {name: TERMS[name].function(estimate, **self.parameters[name]) for name in self.weights}
        total = torch.stack([self.weights[name] * value for name, value in terms.items()]).sum()
        return total, terms


def _checked_parameters(name: str, given: Mapping[str, float]) -> dict[str, float]:
    _, *known = inspect.signature(TERMS[name].function).parameters
    if unknown := sorted(set(given) - set(known)):
        raise UserError(f"model.loss.{name} has no parameters {unknown}: expected weight and {known or 'nothing else'}")
    return dict(given)

"""A metric: by how much the crest factor of an estimate differs from its target's."""

from torch import Tensor

from wsa_lightning.metrics import DEFINITIONS, Definition, Signals


def crest(audio: Tensor) -> Tensor:
    """Peak over root mean square of (C, N), in dB."""
    return 20 * (audio.abs().max() / audio.square().mean().sqrt().clamp_min(1e-8)).clamp_min(1e-8).log10()


def crest_error(signals: Signals) -> float:
    """The absolute difference in dB."""
    return float((crest(signals.estimate) - crest(signals.target)).abs())


DEFINITIONS["crest_error"] = Definition("dB", "lower", "|crest(e) - crest(s)|, crest = peak / rms", crest_error)

"""The loss terms by name."""

from wsa_lightning.losses.terms import TERMS, Estimate, check_weights, taps_needed, weighted_sum

__all__ = ["TERMS", "Estimate", "check_weights", "taps_needed", "weighted_sum"]

"""The loss terms by name, and their weighted sum."""

from wsa_lightning.losses.terms import TERMS, Estimate, Loss, Taught, loss_term

__all__ = ["TERMS", "Estimate", "Loss", "Taught", "loss_term"]

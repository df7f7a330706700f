"""What ``test`` finds out and leaves behind: the report, its files, the teacher's scores kept between runs."""

from wsa_lightning.training.evaluation.card import ModelCard
from wsa_lightning.training.evaluation.report import Report

__all__ = ["ModelCard", "Report"]

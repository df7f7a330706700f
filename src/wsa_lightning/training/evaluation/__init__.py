"""What ``test`` finds out and leaves behind: the report, its files, the teacher's scores kept between runs."""

from wsa_lightning.training.evaluation.report import ModelCard, Report, nan_frames

__all__ = ["ModelCard", "Report", "nan_frames"]

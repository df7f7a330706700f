"""Floor 4: Lightning modules, data module and callbacks around the pure rooms below."""

from wsa_lightning.training.datamodule import MUSDBDataModule
from wsa_lightning.training.student import StudentModule
from wsa_lightning.training.teacher import TeacherModule

__all__ = ["MUSDBDataModule", "StudentModule", "TeacherModule"]

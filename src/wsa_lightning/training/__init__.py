"""Lightning modules, data modules and callbacks around the pure rooms below."""

from wsa_lightning.training.data_protocol import SeparationDataModule, TrackInfo
from wsa_lightning.training.datamodule import MUSDBDataModule
from wsa_lightning.training.module import SeparationModule
from wsa_lightning.training.schedule import WarmupCosine
from wsa_lightning.training.student import StudentModule
from wsa_lightning.training.teacher import TeacherModule

__all__ = [
    "MUSDBDataModule",
    "SeparationDataModule",
    "SeparationModule",
    "StudentModule",
    "TeacherModule",
    "TrackInfo",
    "WarmupCosine",
]

"""Floor 3: model files, ours and public, in and out; every tensor accounted for."""

from wsa_lightning.checkpoints.files import load, save, save_public
from wsa_lightning.checkpoints.onnx import save_onnx
from wsa_lightning.checkpoints.public import from_public, to_public
from wsa_lightning.checkpoints.student import to_student

__all__ = ["from_public", "load", "save", "save_onnx", "save_public", "to_public", "to_student"]

"""Model files, ours and public, in and out; every tensor is checked."""

from wsa_lightning.checkpoints.model_files import load, save, save_public
from wsa_lightning.checkpoints.narrowing import to_student
from wsa_lightning.checkpoints.onnx import save_onnx
from wsa_lightning.checkpoints.public import from_public, to_public

__all__ = ["from_public", "load", "save", "save_onnx", "save_public", "to_public", "to_student"]

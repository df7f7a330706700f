"""The length of the training chunks travels with a model, and another one is no other architecture."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from tests.conftest import TINY
from wsa_lightning.errors import UserError
from wsa_lightning.training import MUSDBDataModule, TeacherModule


def teacher(**options: Any) -> TeacherModule:
    module = TeacherModule(replace(TINY, **options), loss={"audio/l1": 1.0})
    state = SimpleNamespace(fn=None)
    module._trainer = SimpleNamespace(state=state, ckpt_path=None, datamodule=MUSDBDataModule(), optimizers=[])  # type: ignore[assignment]
    module.configure_model()
    return module


def test_training_goes_on_with_chunks_of_another_length_but_not_with_another_architecture() -> None:
    saved = teacher()
    checkpoint: dict[str, Any] = {"state_dict": saved.state_dict()}
    saved.on_save_checkpoint(checkpoint)

    longer = teacher()
    longer.net.config = replace(longer.net.config, chunk_seconds=3.0)
    longer.on_load_checkpoint(checkpoint)
    assert longer.net.config.chunk_seconds == 3.0

    with pytest.raises(UserError, match="zero_dc True -> False"):
        teacher(zero_dc=False).on_load_checkpoint(checkpoint)

"""A run taken up from any checkpoint sees the samples, and ends with the weights, of an undisturbed one."""

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from tests.training.recipe import recipe
from wsa_lightning.training import MUSDBDataModule, StudentModule
from wsa_lightning.training.callbacks.averaging import EMACallback
from wsa_lightning.training.callbacks.distillation import DistillationCallback

STEPS, EPOCHS = 3, 3


class Indices(L.Callback):
    """The samples trained on, in order."""

    def __init__(self) -> None:
        self.seen: list[list[int]] = []

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, *_: Any) -> None:
        self.seen.append([*batch["index"].tolist(), round(1e6 * float(batch["mixture"].abs().sum()))])


def fit(
    songs: Path, teacher: Path, folder: Path, *, workers: int, checkpoint: Path | None = None
) -> tuple[list[list[int]], torch.Tensor]:
    L.seed_everything(0)
    indices = Indices()
    callbacks = [
        DistillationCallback(str(teacher)), EMACallback(), indices,
        ModelCheckpoint(folder / "steps", filename="{step}", every_n_train_steps=1, save_top_k=-1),
        ModelCheckpoint(folder / "epochs", filename="{epoch}", save_top_k=-1),
    ]  # fmt: skip
    trainer = L.Trainer(
        max_epochs=EPOCHS, callbacks=callbacks, logger=False, accelerator="cpu", default_root_dir=folder,
        use_distributed_sampler=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    student = StudentModule(window=6, sinks=2, loss={"audio/l1": 1.0, "distill/mask": 1.0}, **recipe(warmup_steps=2))
    data = MUSDBDataModule(
        songs, chunk_seconds=0.25, batch_size=2, steps_per_epoch=STEPS, chunks_per_song=1, workers=workers
    )
    trainer.fit(student, data, ckpt_path=checkpoint, weights_only=True)
    return indices.seen, torch.nn.utils.parameters_to_vector(student.parameters()).detach()


@pytest.fixture(scope="module")
def undisturbed(songs: Path, tiny_teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("undisturbed")
    return folder, *fit(songs, tiny_teacher, folder, workers=0)


@pytest.mark.parametrize(
    ("name", "trained", "workers"),
    [
        ("steps/step=1", 1, 0),
        ("steps/step=3", 3, 0),
        ("steps/step=5", 5, 1),
        ("epochs/epoch=0", 3, 1),
        ("epochs/epoch=1", 6, 0),
    ],
)
def test_a_resumed_run_is_the_rest_of_an_undisturbed_one(
    name: str, trained: int, workers: int, undisturbed: Any, songs: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    folder, samples, weights = undisturbed
    seen, resumed = fit(songs, tiny_teacher, tmp_path, workers=workers, checkpoint=folder / f"{name}.ckpt")
    assert seen == samples[trained:]
    assert torch.equal(resumed, weights)

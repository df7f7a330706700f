"""The average follows the weights with a warm-up, validates, and never swaps for good."""

from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from wsa_lightning.training.callbacks.averaging import EMACallback


class Counter(L.LightningModule):
    """A weight that grows by one each step."""

    def __init__(self, fail_in_validation: bool = False) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.register_buffer("indices", torch.arange(3))
        self.fail_in_validation = fail_in_validation
        self.validated: list[float] = []

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return -self.weight.sum()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.validated.append(float(self.weight.detach()))
        if self.fail_in_validation:
            raise RuntimeError("power cut")

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=1.0)


def fit(module: Counter, steps: int = 20, decay: float = 0.999) -> tuple[L.Trainer, EMACallback]:
    callback = EMACallback(decay)
    trainer = L.Trainer(
        max_epochs=1, callbacks=[callback], logger=False, enable_checkpointing=False, accelerator="cpu",
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
    )  # fmt: skip
    loader = DataLoader(torch.zeros(steps, 1))  # type: ignore[arg-type]
    trainer.fit(module, loader, DataLoader(torch.zeros(1, 1)))  # type: ignore[arg-type]
    return trainer, callback


def expected(steps: int, decay: float) -> float:
    average = 1.0  # the first update copies
    for n in range(1, steps):
        d = min(decay, (1 + n) / (10 + n))
        average = d * average + (1 - d) * (n + 1)
    return average


@pytest.mark.parametrize("decay", [0.999, 0.5])
def test_the_average_is_validated_and_left_as_the_final_weights(decay: float) -> None:
    module = Counter()
    fit(module, decay=decay)
    assert module.validated == [pytest.approx(expected(20, decay), rel=1e-5)]
    assert float(module.weight) == pytest.approx(expected(20, decay), rel=1e-5)
    assert module.indices.tolist() == [0, 1, 2]


def test_an_exception_during_validation_leaves_the_raw_weights_in_place() -> None:
    module = Counter(fail_in_validation=True)
    with pytest.raises(RuntimeError, match="power cut"):
        fit(module)
    assert float(module.weight.detach()) == 20.0

"""A default value that stands in a constructor and in ``configs/base.yaml`` is one value."""

import inspect
from dataclasses import asdict, is_dataclass
from typing import Any

import pytest
import yaml

from wsa_lightning.configs import base_config
from wsa_lightning.reliability.finite import FiniteCallback
from wsa_lightning.reliability.progress import ProgressCallback
from wsa_lightning.reliability.recovery import RecoveryCallback
from wsa_lightning.training import MUSDBDataModule, SeparationDataModule, SeparationModule, StudentModule, WarmupCosine
from wsa_lightning.training.callbacks.averaging import EMACallback
from wsa_lightning.training.callbacks.closing import ClosingCallback
from wsa_lightning.training.callbacks.distillation import DistillationCallback
from wsa_lightning.training.callbacks.flops import FlopCounterCallback
from wsa_lightning.training.callbacks.listening import ListeningCallback
from wsa_lightning.training.callbacks.stems import StemWriterCallback
from wsa_lightning.training.evaluation.callback import EvaluationCallback

BASE: dict[str, Any] = yaml.safe_load(base_config().read_text())
MODEL = BASE["model"]["init_args"]
GROUPS: list[tuple[type, dict[str, Any]]] = [
    (DistillationCallback, BASE["distillation"]),
    (EMACallback, BASE["ema"]),
    (FlopCounterCallback, BASE["flops"]),
    (ListeningCallback, BASE["listening"]),
    (ClosingCallback, BASE["closing"]),
    (EvaluationCallback, BASE["evaluation"]),
    (StemWriterCallback, BASE["predictions"]),
    (FiniteCallback, BASE["nonfinite"]),
    (RecoveryCallback, BASE["recovery"]),
    (ProgressCallback, BASE["progress"]),
    (MUSDBDataModule, BASE["data"]["init_args"]),
    (SeparationDataModule, BASE["data"]["init_args"]),
    (StudentModule, MODEL),
    (SeparationModule, MODEL),
    (WarmupCosine, MODEL["lr_scheduler"]["init_args"]),
]
RECIPE = {"optimizer", "lr_scheduler"}  # plain AdamW without a schedule is PyTorch's default, base.yaml's is a recipe


def plain(value: Any) -> Any:
    value = asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    return list(value) if isinstance(value, tuple) else value


@pytest.mark.parametrize(("group", "values"), GROUPS, ids=[group.__name__ for group, _ in GROUPS])
def test_constructor_and_base_config_agree(group: type, values: dict[str, Any]) -> None:
    defaults = {
        name: plain(parameter.default)
        for name, parameter in inspect.signature(group.__init__).parameters.items()  # type: ignore[misc]
        if parameter.default is not parameter.empty and name not in RECIPE
    }
    assert defaults, "nothing to compare"
    assert {name: values[name] for name in defaults} == defaults


def test_the_base_config_names_every_option_of_its_groups() -> None:
    for group, values in GROUPS:
        names = {
            name
            for name, parameter in inspect.signature(group.__init__).parameters.items()  # type: ignore[misc]
            if name not in ("self", "optimizer") and parameter.kind is not parameter.VAR_KEYWORD
        }
        assert names <= set(values) | RECIPE, group

"""A number outside its range is refused by the parser, which names option, value and range."""

import pytest
from jsonargparse import ArgumentError, ArgumentParser

from wsa_lightning.ranges import ClosedUnitInterval, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from wsa_lightning.reliability.finite import FiniteCallback
from wsa_lightning.reliability.progress import ProgressCallback
from wsa_lightning.reliability.recovery import RecoveryCallback
from wsa_lightning.training import MUSDBDataModule, WarmupCosine
from wsa_lightning.training.callbacks.averaging import EMACallback
from wsa_lightning.training.callbacks.flops import FlopCounterCallback
from wsa_lightning.training.evaluation.callback import EvaluationCallback


@pytest.mark.parametrize(
    ("group", "option", "value", "expected"),
    [
        (EMACallback, "decay", "1.5", "<=1"),
        (EvaluationCallback, "audio_songs", "-1", ">=0"),
        (EvaluationCallback, "threads", "0", ">0"),
        (FiniteCallback, "action", "hope", "skip"),
        (FiniteCallback, "max_skipped", "-1", ">=0"),
        (FlopCounterCallback, "seconds", "0", ">0"),
        (MUSDBDataModule, "batch_size", "0", ">0"),
        (MUSDBDataModule, "chunk_seconds", "-2", ">0"),
        (MUSDBDataModule, "chunks_per_song", "0", ">0"),
        (MUSDBDataModule, "max_unreadable", "-1", ">=0"),
        (MUSDBDataModule, "seed", "-1", ">=0"),
        (MUSDBDataModule, "steps_per_epoch", "0", ">0"),
        (MUSDBDataModule, "workers", "-1", ">=0"),
        (ProgressCallback, "every_seconds", "-1", ">=0"),
        (RecoveryCallback, "every_n_steps", "0", ">0"),
        (RecoveryCallback, "minutes", "-1", ">0"),
        (WarmupCosine, "final_fraction", "1.5", "<=1"),
        (WarmupCosine, "warmup_steps", "-1", ">=0"),
    ],
)
def test_a_number_out_of_range_is_refused_by_name(group: type, option: str, value: str, expected: str) -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(group, "group", skip={"optimizer"})
    with pytest.raises(ArgumentError) as error:
        parser.parse_args([f"--group.{option}={value}"])
    said = str(error.value)
    assert f"group.{option}" in said and value in said and expected in said.replace("v", "")


@pytest.mark.parametrize(
    ("kind", "plain"),
    [
        (PositiveInt, int),
        (NonNegativeInt, int),
        (PositiveFloat, float),
        (NonNegativeFloat, float),
        (ClosedUnitInterval, float),
    ],
)
def test_a_number_within_its_range_is_a_plain_number(kind: type, plain: type) -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--one", type=kind)
    parser.add_argument("--some", type=list[kind])  # type: ignore[valid-type]
    parser.add_argument("--perhaps", type=kind | None)
    found = parser.parse_args(["--one=1", "--some=[1]", "--perhaps=1"])
    assert [type(number) for number in (found.one, *found.some, found.perhaps)] == [plain] * 3

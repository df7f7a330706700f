"""Any optimizer and schedule can be named; a resumed run keeps its own options and the rate it had reached."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from lightning.pytorch.cli import ReduceLROnPlateau
from torch.optim import SGD, AdamW
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR, StepLR

from tests.conftest import TINY
from wsa_lightning.errors import UserError
from wsa_lightning.models import Roformer
from wsa_lightning.training import WarmupCosine
from wsa_lightning.training.optimization import OPTIMIZER_KEY, SCHEDULE_KEY, Optimization, class_name

STEPS = 20
SCHEDULES: dict[str, Callable[[Any], Any]] = {
    "warm-up and cosine": partial(WarmupCosine, warmup_steps=3),
    "steps": partial(StepLR, step_size=4),
    "cosine": partial(CosineAnnealingLR, T_max=STEPS),
    "one cycle": partial(OneCycleLR, max_lr=0.1, total_steps=STEPS),
    "plateau": partial(ReduceLROnPlateau, monitor="val/usdr", patience=1),
}


@pytest.fixture(scope="module")
def net() -> Roformer:
    return Roformer(replace(TINY, sinks=2))


def optimization(schedule: Any, optimizer: Any = None, sinks: float | None = None) -> Optimization:
    return Optimization(optimizer or partial(SGD, lr=0.01), schedule, sinks)


def rates(optimizer: Any, schedule: Any, steps: int) -> list[float]:
    found = []
    for _ in range(steps):
        optimizer.step()
        schedule.step(*((1.0,) if isinstance(schedule, ReduceLROnPlateau) else ()))
        found.append(optimizer.param_groups[0]["lr"])
    return found


def checkpoint_of(optimizer: Any, schedule: Any) -> dict[str, Any]:
    return {
        OPTIMIZER_KEY: class_name(optimizer),
        SCHEDULE_KEY: class_name(schedule),
        "optimizer_states": [optimizer.state_dict()],
        "lr_schedulers": [] if schedule is None else [schedule.state_dict()],
    }


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_resumed_schedule_goes_on_as_if_it_had_not_been_stopped(name: str, net: Roformer) -> None:
    made = optimization(SCHEDULES[name])
    whole = rates(*made.make(net, STEPS), steps=STEPS - 1)
    optimizer, schedule = made.make(net, STEPS)
    first = rates(optimizer, schedule, steps=7)
    saved = checkpoint_of(optimizer, schedule)
    made.keep_options(saved, net, STEPS)
    optimizer, schedule = made.make(net, STEPS)
    optimizer.load_state_dict(saved["optimizer_states"][0])
    schedule.load_state_dict(saved["lr_schedulers"][0])
    assert first + rates(optimizer, schedule, steps=STEPS - 8) == pytest.approx(whole)


def test_a_resumed_run_takes_the_rate_and_the_decay_it_is_given_now(net: Roformer) -> None:
    optimizer, schedule = optimization(SCHEDULES["steps"], partial(AdamW, lr=0.01)).make(net, STEPS)
    rates(optimizer, schedule, steps=5)
    saved = checkpoint_of(optimizer, schedule)
    optimization(SCHEDULES["steps"], partial(AdamW, lr=0.5, weight_decay=0.3)).keep_options(saved, net, STEPS)
    group = saved["optimizer_states"][0]["param_groups"][0]
    assert (group["lr"], group["initial_lr"], group["weight_decay"]) == pytest.approx((0.05, 0.5, 0.3))


@pytest.mark.parametrize(
    ("now", "words"),
    [
        (optimization(SCHEDULES["steps"], partial(AdamW, lr=0.01)), "model.optimizer is AdamW"),
        (optimization(SCHEDULES["cosine"]), "model.lr_scheduler is CosineAnnealingLR"),
        (optimization(None), "model.lr_scheduler is null"),
        (optimization(SCHEDULES["steps"], sinks=0.1), "model.sink_learning_rate is 0.1"),
    ],
)
def test_another_optimizer_schedule_or_division_is_refused(now: Optimization, words: str, net: Roformer) -> None:
    saved = checkpoint_of(*optimization(SCHEDULES["steps"]).make(net, STEPS))
    with pytest.raises(UserError, match=words):
        now.keep_options(saved, net, STEPS)


def test_a_checkpoint_that_does_not_name_its_optimizer_resumes(net: Roformer) -> None:
    made = optimization(SCHEDULES["warm-up and cosine"])
    saved = checkpoint_of(*made.make(net, STEPS))
    del saved[OPTIMIZER_KEY], saved[SCHEDULE_KEY]
    saved["lr_schedulers"][0]["lr_lambdas"] = [None]  # as versions with a LambdaLR wrote it
    made.keep_options(saved, net, STEPS)
    _, schedule = made.make(net, STEPS)
    schedule.load_state_dict(saved["lr_schedulers"][0])
    assert schedule.factor(1) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (optimization(partial(OneCycleLR, max_lr=0.1)), "model.lr_scheduler cannot be made"),
        (optimization(torch.optim.lr_scheduler.ReduceLROnPlateau), "--model.lr_scheduler.monitor val/usdr"),
        (optimization(None, partial(AdamW, lr=0.01, betas=(2, 2))), "model.optimizer cannot be made"),
    ],
)
def test_what_cannot_be_made_is_one_line(broken: Optimization, words: str, net: Roformer) -> None:
    with pytest.raises(UserError, match=words):
        broken.make(net, STEPS)

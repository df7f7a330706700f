"""Optimizer and learning rate schedule of a run: made from callables, and kept to their options when it is resumed."""

import math
from dataclasses import dataclass
from typing import Any

from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from wsa_lightning.errors import UserError
from wsa_lightning.models import Roformer
from wsa_lightning.training.schedule import WarmupCosine

OPTIMIZER_KEY, SCHEDULE_KEY = "wsa_lightning_optimizer", "wsa_lightning_lr_scheduler"
"""Where a checkpoint names the classes of its optimizer and its schedule."""


@dataclass(frozen=True)
class Optimization:
    """How a network is optimized.

    Attributes:
        optimizer: parameter groups to an optimizer.
        lr_scheduler: an optimizer to a schedule; None for none.
        sink_learning_rate: the sinks' own, without weight decay; None trains them like all other parameters.
    """

    optimizer: OptimizerCallable
    lr_scheduler: LRSchedulerCallable | None
    sink_learning_rate: float | None

    def __deepcopy__(self, memo: dict[int, Any]) -> "Optimization":
        return self  # the average of the weights copies its module, and callables from YAML cannot be copied

    def make(self, net: Roformer, steps: int) -> tuple[Optimizer, Any]:
        """Optimizer and schedule (or None) for a run of so many optimizer steps.

        Raises:
            UserError: a rate for sinks that do not exist; a learning rate or weight decay that is negative or not
                finite.
        """
        optimizer = self._make_optimizer(net)
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group.get("lr", 0.0))  # as most schedules do, but not ReduceLROnPlateau
            key = "model.sink_learning_rate" if group.get("name") == "sinks" else "model.optimizer.lr"
            for name, value in (
                (key, group["initial_lr"]),
                ("model.optimizer.weight_decay", group.get("weight_decay", 0.0)),
            ):
                if not (math.isfinite(value) and value >= 0):  # torch checks its defaults alone, not NaN or groups
                    raise UserError(f"{name} is {value}: expected a finite number >= 0")
        schedule = None if self.lr_scheduler is None else self._make_schedule(self.lr_scheduler, optimizer)
        if isinstance(schedule, WarmupCosine) and schedule.total_steps is None:
            schedule.total_steps = steps
        return optimizer, schedule

    @staticmethod
    def _make_schedule(schedule: LRSchedulerCallable, optimizer: Optimizer) -> Any:
        try:
            made = schedule(optimizer)
        except (ValueError, TypeError) as error:
            raise UserError(f"model.lr_scheduler cannot be made: {error}") from error
        if isinstance(made, ReduceLROnPlateau) and not hasattr(made, "monitor"):
            raise UserError(
                "model.lr_scheduler is torch's ReduceLROnPlateau, which does not say what it monitors: use "
                "lightning.pytorch.cli.ReduceLROnPlateau with --model.lr_scheduler.monitor val/usdr"
            )
        return made

    def _make_optimizer(self, net: Roformer) -> Optimizer:
        groups: list[dict[str, Any]] = [{"params": list(net.parameters())}]
        if self.sink_learning_rate is not None:
            if not net.config.sinks:
                raise UserError(
                    f"model.sink_learning_rate is {self.sink_learning_rate}, but the model has no sinks: set it to null"
                )
            body = [parameter for name, parameter in net.named_parameters() if name != "sinks"]
            sinks = {"params": [net.sinks], "lr": self.sink_learning_rate, "weight_decay": 0.0}
            groups = [{"name": "network", "params": body}, {"name": "sinks", **sinks}]
        try:
            return self.optimizer(groups)
        except (ValueError, TypeError) as error:
            raise UserError(f"model.optimizer cannot be made: {error}") from error

    def keep_options(self, checkpoint: dict[str, Any], net: Roformer, steps: int) -> None:
        """Let the options of this run replace those that a checkpoint's optimizer was made with.

        Args:
            checkpoint: a Lightning checkpoint; changed in place.
            net: the network.
            steps: optimizer steps of the whole run.

        Raises:
            UserError: the checkpoint was trained with another optimizer, schedule, or division into parameter groups.
        """
        optimizer, schedule = self.make(net, steps)
        for option, key, made in (("optimizer", OPTIMIZER_KEY, optimizer), ("lr_scheduler", SCHEDULE_KEY, schedule)):
            name = class_name(made)
            if (theirs := checkpoint.get(key, name)) != name:
                raise UserError(
                    f"model.{option} is {name}, but the checkpoint was trained with {theirs}: use that, or start again "
                    "without --ckpt_path"
                )
        ours = optimizer.param_groups
        for saved in checkpoint.get("optimizer_states", []):
            groups = saved["param_groups"]
            if len(groups) != len(ours):
                raise UserError(
                    f"model.sink_learning_rate is {self.sink_learning_rate}, but the checkpoint was trained "
                    f"{'without' if len(groups) == 1 else 'with'} one: use the options it was trained with, or start "
                    "again without --ckpt_path"
                )
            for group, own in zip(groups, ours, strict=True):
                peak = own["initial_lr"]
                if isinstance(schedule, WarmupCosine):
                    reached = schedule.factor(checkpoint["lr_schedulers"][0]["last_epoch"])
                else:
                    reached = group["lr"] / (group.get("initial_lr") or group["lr"] or 1.0)
                group.update({key: value for key, value in own.items() if key not in ("params", "lr", "initial_lr")})
                group |= {"lr": peak * reached, "initial_lr": peak}
        for saved in checkpoint.get("lr_schedulers", []):
            if "base_lrs" in saved:
                saved["base_lrs"] = [group["initial_lr"] for group in ours]


def class_name(made: Optimizer | LRScheduler | None) -> str:
    """The class of an optimizer or a schedule, ``null`` for none."""
    return "null" if made is None else type(made).__name__

"""The end of a run: the exported model, the closing table, hyper-parameters with their scores."""

from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_info, rank_zero_only
from rich.console import Console
from rich.table import Table

from wsa_lightning.atomic import write_json
from wsa_lightning.checkpoints import save
from wsa_lightning.reliability.internals import find_callback, is_dry_run
from wsa_lightning.results import decimals, percent
from wsa_lightning.training.callbacks.flops import FlopCounterCallback, giga
from wsa_lightning.training.media import log_hyperparameters
from wsa_lightning.training.module import SeparationModule


class ClosingCallback(L.Callback):
    """After training: ``model.safetensors`` (averaged weights), ``summary.json`` and a table on the terminal.

    The scores are those of the last validation; a run that ends with an epoch validates the weights it exports.

    Args:
        export: write ``model.safetensors`` into the run's folder.
    """

    def __init__(self, export: bool = True) -> None:
        self.export = export
        self._has_trained = False

    def on_train_batch_end(self, *_: Any) -> None:
        self._has_trained = True

    @rank_zero_only
    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if is_dry_run(trainer) or not isinstance(pl_module, SeparationModule) or trainer.interrupted:
            return
        if not self._has_trained:
            steps = f"step {trainer.global_step} of {pl_module.planned_steps()}"
            rank_zero_info(f"nothing left to train ({steps}): model, summary and logs stay as they are")
            return
        folder = Path(trainer.default_root_dir)
        scores = {
            name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith(("val/", "loss"))
        }
        flops, teacher = find_callback(trainer, FlopCounterCallback), pl_module.teacher
        summary: dict[str, Any] = {
            "steps": trainer.global_step,
            **scores,
            **({} if flops is None else flops.figures),
            "val/usdr_step_0": None if teacher is None else teacher.baseline,
            "teacher": None if teacher is None else teacher.path,
        }
        if self.export:
            save(pl_module.net, folder / "model.safetensors", notes={"steps": str(trainer.global_step)})
        write_json(folder / "summary.json", summary)
        metrics = {name: value for name, value in summary.items() if "/" in name and isinstance(value, float)}
        log_hyperparameters(trainer, hyperparameters(trainer, pl_module), metrics)
        console = Console()
        console.print(closing_table(summary, flops))
        if self.export:
            console.print(f"model        {folder / 'model.safetensors'}", soft_wrap=True)
        if any(isinstance(logger, TensorBoardLogger) for logger in trainer.loggers):
            console.print(f"TensorBoard  tensorboard --logdir {folder}", soft_wrap=True)


def hyperparameters(trainer: L.Trainer, module: SeparationModule) -> dict[str, Any]:
    """What a table of runs is sorted by: attention, losses, schedule, data; scalars and strings only."""
    config = module.net.config
    data = dict(module.data.hparams)
    rates = [group.get("initial_lr", group["lr"]) for group in trainer.optimizers[0].param_groups]
    return {
        **config.time_attention.columns(),
        "family": config.family,
        "dim": config.dim,
        "depth": config.depth,
        **{f"weight/{name}": weight for name, weight in module.loss.weights.items()},
        "optimizer": type(trainer.optimizers[0]).__name__,
        "learning_rate": rates[0],
        "sink_learning_rate": rates[-1],
        "steps": trainer.global_step,
        "precision": str(trainer.precision),
        **{key: value for key, value in data.items() if isinstance(value, (int, float, str))},
    }


def closing_table(summary: dict[str, Any], flops: FlopCounterCallback | None) -> Table:
    """Scores and FLOPs of teacher and student side by side, or of a model without a teacher alone."""
    table = Table(title="val/usdr: median over songs of the uSDR over all validation chunks of a song", title_style="")
    teacher: float | None = summary.get("val/teacher_usdr")
    table.add_column("")
    for column in ("model",) if teacher is None else ("teacher", "student", "student / teacher"):
        table.add_column(column, justify="right")

    def add(label: str, theirs: str, own: str, ratio: str) -> None:
        table.add_row(label, *((own,) if teacher is None else (theirs, own, ratio)))

    for when, name in (("before", "usdr_step_0"), ("after", "usdr")):
        if (score := summary.get(f"val/{name}")) is not None:
            share = percent(score / teacher) if teacher is not None and teacher > 0 else ""
            add(f"uSDR {when} training, dB", decimals(teacher), decimals(score), share)
    if teacher is not None:
        add("difference, dB", "", f"{summary['val/delta_db']:+.2f}", "")
        add("retained", "", "", percent(summary["val/retained"]))
        add("recovered of what the window cost", "", "", percent(summary.get("val/recovered")))
    if flops is not None:
        for label, name in (("time attention", "attention"), ("linear and all attention", "total")):
            own, theirs = (flops.figures.get(f"flops/{role}{name}") for role in ("", "teacher_"))
            ratio = f"1 / {theirs / own:.2f}" if theirs and own else ""
            add(f"{label}, GFLOP in {flops.seconds:g} s", giga(theirs), giga(own), ratio)
    return table

"""The end of a run: the exported model, the closing table, hyper-parameters with their scores."""

from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console
from rich.table import Table

from wsa_lightning.atomic import write_json
from wsa_lightning.checkpoints import save
from wsa_lightning.reliability.internals import find_callback, is_dry_run
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

    @rank_zero_only
    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write and print, unless this was a dry run or nothing was trained."""
        if is_dry_run(trainer) or not isinstance(pl_module, SeparationModule) or trainer.interrupted:
            return
        folder = Path(trainer.default_root_dir)
        scores = {
            name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith(("val/", "loss"))
        }
        summary: dict[str, Any] = {"steps": trainer.global_step, **scores}
        if (flops := find_callback(trainer, FlopCounterCallback)) is not None:
            summary |= flops.figures
        teacher = pl_module.teacher
        summary |= {
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
    data = {} if module.data is None else dict(module.data.hparams)
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
    rows: list[tuple[str, ...]] = [*_score_rows(summary), *(_flop_rows(flops) if flops is not None else [])]
    table = Table(title="val/usdr: median over songs of the uSDR over all validation chunks of a song", title_style="")
    if summary.get("val/teacher_usdr") is None:
        columns, rows = ["", "model"], [(label, own) for label, _, own, _ in rows]
    else:
        columns = ["", "teacher", "student", "student / teacher"]
    for column in columns:
        table.add_column(column, justify="right" if column else "left")
    for row in rows:
        table.add_row(*row)
    return table


def _score_rows(summary: dict[str, Any]) -> list[tuple[str, ...]]:
    """(label, teacher, student, ratio) of what validation found."""
    teacher, after, before = (summary.get(f"val/{name}") for name in ("teacher_usdr", "usdr", "usdr_step_0"))
    rows: list[tuple[str, ...]] = [
        ("uSDR after training, dB", _number(teacher), _number(after), _percent(after, teacher))
    ]
    if before is not None:
        rows.insert(0, ("uSDR before training, dB", _number(teacher), _number(before), _percent(before, teacher)))
    if teacher is not None and after is not None:
        rows.append(("difference, dB", "", f"{after - teacher:+.2f}", ""))
        rows.append(("retained", "", "", _percent(after, teacher)))
    if "val/recovered" in summary:
        rows.append(("recovered of what the window cost", "", "", f"{100 * summary['val/recovered']:.1f} %"))
    return rows


def _flop_rows(flops: FlopCounterCallback) -> list[tuple[str, ...]]:
    """(label, teacher, student, ratio) of what was counted."""
    rows: list[tuple[str, ...]] = []
    for label, name in (("time attention", "attention"), ("linear and all attention", "total")):
        own, theirs = flops.figures.get(f"flops/{name}"), flops.figures.get(f"flops/teacher_{name}")
        ratio = f"1 / {theirs / own:.2f}" if theirs and own else ""
        rows.append((f"{label}, GFLOP in {flops.seconds:g} s", giga(theirs), giga(own), ratio))
    return rows


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _percent(part: float | None, whole: float | None) -> str:
    return "" if part is None or whole is None or whole <= 0 else f"{100 * part / whole:.1f} %"

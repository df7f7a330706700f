"""A comparison as TensorBoard events: uSDR over GFLOP per second of audio, hyper-parameters, the figure."""

from pathlib import Path

from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from wsa_lightning.comparison.groups import Comparison, Group
from wsa_lightning.comparison.pareto import pareto_figure
from wsa_lightning.comparison.runs import Model

UNITS = {"gflop": 1e9, "mflop": 1e6}


def write_events(comparison: Comparison, folder: Path) -> None:
    """Write one TensorBoard run per model, and one called ``comparison`` with the figures.

    TensorBoard's x axis is an integer, so each point is written twice, in GFLOP and in MFLOP. Groups that are not
    comparable have separate tags, so they never share a chart.
    """
    with SummaryWriter(str(folder / "comparison")) as writer:
        for group in comparison.groups:
            writer.add_figure(f"pareto/{group.letter}", pareto_figure(group), close=False)
    for group in comparison.groups:
        for model, on_front in zip(group.models, group.front, strict=True):
            name = model.name.replace("/", "_")
            if len(comparison.groups) > 1:
                name = f"{group.letter}_{name}"
            with SummaryWriter(str(folder / name)) as writer:
                _write_model(writer, group, model, on_front)


def _write_model(writer: SummaryWriter, group: Group, model: Model, on_front: bool) -> None:
    metrics = {"usdr_db": model.usdr}
    if model.flops_per_second is not None:
        metrics["gflop_per_second_of_audio"] = model.flops_per_second / 1e9
        for unit, size in UNITS.items():
            step = round(model.flops_per_second / size)
            writer.add_scalar(f"usdr_over_{unit}_per_second/{group.letter}", model.usdr, step)
    options = {
        "group": group.letter,
        "role": "teacher" if model.is_teacher else "student",
        **model.pattern.columns(),
        "window": str(model.pattern.columns()["window"]),  # one type for all runs: TensorBoard sorts a column by it
        "pareto": on_front,
    }
    for summary in hparams(options, metrics):
        writer._get_file_writer().add_summary(summary)  # add_hparams would write the metrics to a separate run
    for name, value in metrics.items():
        writer.add_scalar(name, value, 0)

"""FLOPs of teacher and student, counted before training and logged beside the scores."""

import logging

import lightning as L
from lightning.pytorch.utilities import rank_zero_info, rank_zero_only

from wsa_lightning.flops import FlopReport, count
from wsa_lightning.models import Roformer
from wsa_lightning.ranges import PositiveFloat
from wsa_lightning.training.module import SeparationModule

logger = logging.getLogger(__name__)


class FlopCounterCallback(L.Callback):
    """Counts with fvcore (2 FLOPs a multiply-accumulate) and logs at step 0.

    ``flops/attention``: QK^T and PV of the time attention over the pairs the mask allows, exactly.
    ``flops/total``: all linear layers and all attention, without the STFT.
    ``flops/teacher_attention``, ``flops/teacher_total``: the teacher's.
    ``flops/attention_reduction``: teacher / student of the first.
    ``flops/attention_reduction_paper``: T / (w + S), the paper's count, which ignores that a window of w frames
    holds w + 1 keys and that sinks see everything; of several windows, w is the mean.

    A figure that lacks an operator nobody counts is a warning and n/a, and is not logged.

    Args:
        seconds: length of the audio counted.
    """

    def __init__(self, seconds: PositiveFloat = 8.0) -> None:
        self.seconds = seconds
        self.figures: dict[str, float] = {}

    @rank_zero_only
    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not isinstance(pl_module, SeparationModule):
            return
        report = self._count(pl_module.net, "model")
        self.figures = _figures(report, "")
        if pl_module.teacher is not None:
            self.figures |= _figures(self._count(pl_module.teacher.network, "teacher"), "teacher_")
            theirs, own = (self.figures.get(f"flops/{name}") for name in ("teacher_attention", "attention"))
            if theirs and own:
                self.figures["flops/attention_reduction"] = theirs / own
                self.figures["flops/attention_reduction_paper"] = report.frames**2 / report.paper_pairs
        for run_logger in trainer.loggers:
            run_logger.log_metrics(self.figures, step=trainer.global_step)
        parameters = sum(parameter.numel() for parameter in pl_module.net.parameters())
        rank_zero_info(
            f"{parameters / 1e6:.2f} M parameters, {giga(self.figures.get('flops/attention'))} GFLOP of time attention "
            f"and {giga(self.figures.get('flops/total'))} GFLOP in all for {self.seconds:g} s"
        )

    def _count(self, model: Roformer, role: str) -> FlopReport:
        """The report, with a warning of one line if something in it could not be counted."""
        report = count(model, self.seconds)
        if report.uncounted:
            operators = ", ".join(map(str, report.uncounted[:3])) + (" ..." if len(report.uncounted) > 3 else "")
            logger.warning("FLOPs of the %s: n/a where they would include what is not counted: %s", role, operators)
        return report


def giga(flops: float | None) -> str:
    """FLOPs in units of 1e9, or n/a."""
    return "n/a" if flops is None else f"{flops / 1e9:.3f}"


def _figures(report: FlopReport, prefix: str) -> dict[str, float]:
    """The figures that are complete, under their TensorBoard tags."""
    known = {"attention": report.known_time_attention, "total": report.known_total}
    return {f"flops/{prefix}{name}": float(flops) for name, flops in known.items() if flops is not None}

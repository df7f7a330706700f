"""FLOPs of teacher and student, counted before training and logged beside the scores."""

import lightning as L
from lightning.pytorch.utilities import rank_zero_info, rank_zero_only

from wsa_lightning.flops import FlopReport, count
from wsa_lightning.ranges import PositiveFloat
from wsa_lightning.training.module import SeparationModule


class FlopCounterCallback(L.Callback):
    """Counts with fvcore (2 FLOPs a multiply-accumulate) and logs at step 0.

    ``flops/attention``: QK^T and PV of the time attention over the pairs the mask allows, exactly.
    ``flops/total``: all linear layers and all attention; the STFT is not in it.
    ``flops/teacher_attention``, ``flops/teacher_total``: the teacher's.
    ``flops/attention_reduction``: teacher / student of the first.
    ``flops/attention_reduction_paper``: T / (w + S), the paper's count, which forgets that a window of w frames
    holds w + 1 keys and that sinks see everything; of several windows, w is the mean.

    Args:
        seconds: length of the audio counted.
    """

    def __init__(self, seconds: PositiveFloat = 8.0) -> None:
        self.seconds = seconds
        self.student: FlopReport | None = None
        self.teacher: FlopReport | None = None
        self.figures: dict[str, float] = {}

    @rank_zero_only
    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Count and log."""
        if not isinstance(pl_module, SeparationModule):
            return
        self.student = count(pl_module.net, self.seconds)
        self.figures = {
            "flops/attention": float(self.student.time_attention),
            "flops/total": float(self.student.total),
        }
        if pl_module.teacher is not None:
            self.teacher = count(pl_module.teacher.network, self.seconds)
            self.figures |= {
                "flops/teacher_attention": float(self.teacher.time_attention),
                "flops/teacher_total": float(self.teacher.total),
                "flops/attention_reduction": self.teacher.time_attention / self.student.time_attention,
                "flops/attention_reduction_paper": self.student.frames**2 / self.student.paper_pairs,
            }
        for logger in trainer.loggers:
            logger.log_metrics(self.figures, step=trainer.global_step)
        parameters = sum(parameter.numel() for parameter in pl_module.net.parameters())
        rank_zero_info(
            f"{parameters / 1e6:.2f} M parameters, {self.student.time_attention / 1e9:.3f} GFLOP of time attention and "
            f"{self.student.total / 1e9:.3f} GFLOP in all for {self.seconds:g} s"
        )

"""Lightning's commands: fit, validate, test and predict, with this project's callbacks as option groups."""

import logging
import sys
import warnings
from pathlib import Path
from typing import Any

import lightning as L
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.exceptions import SIGTERMException

from wsa_lightning.atomic import replacing
from wsa_lightning.checkpoints.model_files import is_resumable, resolve_path
from wsa_lightning.cli.entry import INTERRUPTED, import_plugins
from wsa_lightning.cli.messages import OneLineParser
from wsa_lightning.cli.registry import PROGRAM, TRAINER_COMMANDS, example
from wsa_lightning.configs import base_config
from wsa_lightning.errors import UserError, one_line
from wsa_lightning.reliability.checkpoint_io import AtomicCheckpointIO, previous
from wsa_lightning.reliability.finite import FiniteCallback
from wsa_lightning.reliability.internals import callbacks_of, find_callback
from wsa_lightning.reliability.progress import ProgressCallback
from wsa_lightning.reliability.ranks import RankWatchCallback, is_child, mark_launcher
from wsa_lightning.reliability.recovery import FOLDER, RecoveryCallback, check_strategy
from wsa_lightning.reliability.waiting import WaitingCallback
from wsa_lightning.training import SeparationDataModule, SeparationModule
from wsa_lightning.training.callbacks.averaging import EMACallback
from wsa_lightning.training.callbacks.closing import ClosingCallback
from wsa_lightning.training.callbacks.distillation import DistillationCallback
from wsa_lightning.training.callbacks.flops import FlopCounterCallback
from wsa_lightning.training.callbacks.listening import ListeningCallback
from wsa_lightning.training.callbacks.memory import MemoryCallback
from wsa_lightning.training.callbacks.stems import StemWriterCallback
from wsa_lightning.training.evaluation.callback import EvaluationCallback

TERMINATED = 128 + 15


class TrainerParser(OneLineParser, LightningArgumentParser):
    """Lightning's parser, with errors in one line."""


class SaveRunConfig(SaveConfigCallback):
    """Writes the options of ``fit`` to ``RUN/config.yaml``, those of another command to ``RUN/config.COMMAND.yaml``."""

    folder = Path()

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Choose folder and name, then let rank 0 write."""
        command = TrainerFn(stage).value
        if command != "fit":
            self.config_filename = f"config.{command}.yaml"
        self.folder = Path(trainer.log_dir or trainer.default_root_dir)  # on every rank: it is broadcast
        super().setup(trainer, pl_module, stage)

    def save_config(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Write the file atomically."""
        with replacing(self.folder / self.config_filename) as temporary:
            self.parser.save(self.config, temporary, skip_none=False, overwrite=True, multifile=False)


class WsaCLI(LightningCLI):
    """LightningCLI with this project's callbacks as option groups, and ``configs/base.yaml`` underneath."""

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Lightning's; ``test`` prints a table of its own and needs no ``--verbose``."""
        commands = LightningCLI.subcommands()
        return {**commands, "test": commands["test"] | {"verbose"}}

    def test(self, **options: Any) -> None:
        """Run ``test`` without Lightning's table."""
        self.trainer.test(verbose=False, **options)

    def after_test(self) -> None:
        """Exit with status 1 if songs failed."""
        evaluation = find_callback(self.trainer, EvaluationCallback)
        if evaluation is None or not evaluation.failed:
            return
        if self.trainer.is_global_zero:
            songs = "".join(f"\n  {song}: {reason}" for song, reason in sorted(evaluation.failed.items()))
            print(f"error: {len(evaluation.failed)} songs failed and are in no score:{songs}", file=sys.stderr)
        sys.exit(1)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Option groups of the callbacks every run has; they run in this order."""
        parser.add_argument("--plugins", type=list[str], default=[], help="modules to import before anything is built")
        parser.add_lightning_class_args(DistillationCallback, "distillation")
        parser.add_lightning_class_args(EMACallback, "ema")
        parser.add_lightning_class_args(FlopCounterCallback, "flops")
        parser.add_lightning_class_args(ListeningCallback, "listening")
        parser.add_lightning_class_args(ClosingCallback, "closing")
        parser.add_lightning_class_args(EvaluationCallback, "evaluation")
        parser.add_lightning_class_args(StemWriterCallback, "predictions")
        parser.add_lightning_class_args(FiniteCallback, "nonfinite")
        parser.add_lightning_class_args(RecoveryCallback, "recovery")
        parser.add_lightning_class_args(ProgressCallback, "progress")  # the last: its end means that all is written

    def instantiate_trainer(self, **kwargs: Any) -> Any:
        """Add the callbacks that have no options."""
        try:
            trainer = super().instantiate_trainer(**kwargs)
        except (MisconfigurationException, ModuleNotFoundError, TypeError, ValueError) as error:
            raise UserError(f"trainer: {one_line(error)}") from error
        check_strategy(trainer)
        callbacks_of(trainer)[:0] = [RankWatchCallback(), MemoryCallback(), WaitingCallback()]
        return trainer

    def before_instantiate_classes(self) -> None:
        """Import the plugins; refuse a checkpoint that is none, and tell Lightning's from other model files."""
        options = self.config[self.subcommand]
        import_plugins(options.plugins)
        # Lightning refuses the callbacks of base.yaml beside an option that switches off what they need.
        unwanted = [] if options.trainer.logger else ["LearningRateMonitor"]
        if options.trainer.enable_progress_bar is False:
            unwanted += ["RichProgressBar", "TQDMProgressBar"]
        callbacks = options.trainer.callbacks or []
        options.trainer.callbacks = [c for c in callbacks if not c.class_path.endswith(tuple(unwanted))]
        self._model_file: str | None = None
        path = options.get("ckpt_path")
        if path is None:
            return
        if path in ("last", "best"):
            path = Path(options.trainer.default_root_dir) / FOLDER / f"{path}.ckpt"
        file = resolve_path(path)
        if self.subcommand != "fit" and file.is_file() and not is_resumable(file) and not previous(file).is_file():
            self._model_file = str(path)
            return
        try:
            options.ckpt_path = str(AtomicCheckpointIO.readable(file))
        except UserError as error:
            raise UserError(f"--ckpt_path: {error}; other model files go to --distillation.teacher") from None

    def after_instantiate_classes(self) -> None:
        """Tell the module where its network comes from."""
        if self.subcommand != "fit":
            self.model.model_file = self._model_file or self.config_init[self.subcommand]["ckpt_path"]
        if self._model_file is None:
            return
        self.config_init[self.subcommand]["ckpt_path"] = None
        rank_zero_info(
            f"{self._model_file}: window, dilation and sinks are those of the file (model.window, model.dilation and "
            "model.sinks are for students made from a teacher)"
        )

    def _parse_ckpt_path(self) -> None:
        """Leave the options alone: a checkpoint's hyper-parameters must not beat the command line."""


def quiet_lightning() -> None:
    """Drop advertisements, a deprecation, and what we say ourselves: the rest on the terminal is about the run."""
    unwanted = ("litlogger", "Detected KeyboardInterrupt")
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(
        lambda record: not any(words in record.getMessage() for words in unwanted)
    )
    for message in (".*treespec.*", ".*`srun` command is available.*"):
        warnings.filterwarnings("ignore", message=message)


def run_trainer() -> None:
    """``fit``, ``validate``, ``test`` or ``predict``, as ``sys.argv`` says."""

    quiet_lightning()
    mark_launcher()
    options = {"parser_mode": "omegaconf+"}
    base = [str(base_config())]
    try:
        WsaCLI(
            SeparationModule,
            SeparationDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,  # model.optimizer and model.lr_scheduler: the student has no weights yet
            parser_class=TrainerParser,
            parser_kwargs={
                **options,
                "prog": PROGRAM,
                **{
                    name: {**options, "default_config_files": base, "epilog": f"example: {example(name)}"}
                    for name in TRAINER_COMMANDS
                },
            },
            save_config_callback=SaveRunConfig,
            save_config_kwargs={"overwrite": True, "save_to_log_dir": False},
        )
    except MisconfigurationException as error:
        raise UserError(one_line(error)) from error
    except SIGTERMException:
        # Lightning would exit with 0, as if the run were finished. Rank 0 speaks for all.
        sys.exit(0 if is_child() else TERMINATED)
    except SystemExit as end:
        # Lightning exits with 1 after Ctrl-C.
        if isinstance(end.__context__, KeyboardInterrupt):
            sys.exit(INTERRUPTED)
        raise

"""The command line: Lightning's fit, validate, test and predict, and this project's own commands."""

import logging
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from wsa_lightning.errors import UserError

PROGRAM = "python -m wsa_lightning"
EXAMPLES = {
    "fit": "fit --config configs/wsa_w16_s4.yaml --model.window 10 --model.sinks 8",
    "validate": "validate --config configs/wsa_w16_s4.yaml --ckpt_path runs/wsa_w16_s4/checkpoints/best.ckpt",
    "test": "test --config configs/wsa_w16_s4.yaml --ckpt_path runs/wsa_w16_s4/checkpoints/best.ckpt",
    "predict": "predict --config configs/wsa_w16_s4.yaml --ckpt_path runs/wsa_w16_s4/checkpoints/best.ckpt",
    "data": "data make songs --songs 100 --seconds 20 --seed 1",
}
SUMMARIES = {
    "fit": "train a student from a teacher (or a teacher from scratch)",
    "validate": "score a model on the validation chunks; without --ckpt_path the student before training",
    "test": "score a model on whole test songs",
    "predict": "separate the test songs into files",
    "data": "make data: embedded songs in the MUSDB18-HQ layout",
}
TRAINER_COMMANDS = ("fit", "validate", "test", "predict")


class WsaCLI(LightningCLI):
    """LightningCLI with this project's callbacks as option groups, and ``configs/base.yaml`` underneath."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Option groups of the callbacks every run has; they run in this order."""
        from wsa_lightning.training.callbacks.averaging import EMACallback
        from wsa_lightning.training.callbacks.closing import ClosingCallback
        from wsa_lightning.training.callbacks.distillation import DistillationCallback
        from wsa_lightning.training.callbacks.flops import FlopCounterCallback
        from wsa_lightning.training.callbacks.listening import ListeningCallback
        from wsa_lightning.training.callbacks.stems import StemWriterCallback

        parser.add_lightning_class_args(DistillationCallback, "distillation")
        parser.add_lightning_class_args(EMACallback, "ema")
        parser.add_lightning_class_args(FlopCounterCallback, "flops")
        parser.add_lightning_class_args(ListeningCallback, "listening")
        parser.add_lightning_class_args(ClosingCallback, "closing")
        parser.add_lightning_class_args(StemWriterCallback, "predictions")

    def _parse_ckpt_path(self) -> None:
        """Leave the options alone: a checkpoint's hyper-parameters must not beat the command line."""


def base_config() -> Path:
    """``configs/base.yaml``, in the source tree or where a wheel installs it."""
    candidates = (
        Path(__file__).resolve().parents[2] / "configs" / "base.yaml",
        Path(sys.prefix) / "share" / "wsa-lightning" / "configs" / "base.yaml",
    )
    found = next((path for path in candidates if path.is_file()), None)
    if found is None:
        raise UserError(f"configs/base.yaml is at none of {', '.join(map(str, candidates))}: reinstall wsa-lightning")
    return found


def quiet_lightning() -> None:
    """Drop advertisements and a deprecation inside Lightning: what remains on the terminal is about the run."""
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(
        lambda record: "litlogger" not in record.getMessage()
    )
    warnings.filterwarnings("ignore", message=".*treespec.*", module="lightning")


def run_trainer(command: str, arguments: list[str]) -> None:
    """``fit``, ``validate``, ``test`` or ``predict``; the options are read from ``sys.argv``."""
    from wsa_lightning.training import MUSDBDataModule
    from wsa_lightning.training.module import SeparationModule

    quiet_lightning()
    options = {"parser_mode": "omegaconf+"}
    base = [str(base_config())]
    WsaCLI(
        SeparationModule,
        MUSDBDataModule,
        subclass_mode_model=True,
        parser_kwargs={
            **options,
            **{
                name: {**options, "default_config_files": base, "epilog": f"example: {PROGRAM} {EXAMPLES[name]}"}
                for name in TRAINER_COMMANDS
            },
        },
        save_config_kwargs={"overwrite": True},
    )


def run_data(command: str, arguments: list[str]) -> None:
    """``data make``."""
    from jsonargparse import auto_cli

    from wsa_lightning.commands import data

    auto_cli({"make": data.make}, args=arguments, prog=f"{PROGRAM} data")


RUNNERS: dict[str, Callable[[str, list[str]], Any]] = {
    **dict.fromkeys(TRAINER_COMMANDS, run_trainer),
    "data": run_data,
}


def usage() -> str:
    """The top-level help: every command with a line and an example."""
    lines = [f"usage: {PROGRAM} COMMAND [OPTIONS]", "", "commands:"]
    for name, summary in SUMMARIES.items():
        lines += [f"  {name:<10}{summary}", f"  {'':<10}  {PROGRAM} {EXAMPLES[name]}"]
    return "\n".join([*lines, "", f"{PROGRAM} COMMAND --help lists the options of a command."])


def main() -> None:
    """Run one command; a ``UserError`` becomes one line on standard error and exit status 2."""
    words = sys.argv[1:]
    if not words or words[0] in ("-h", "--help", "help"):
        print(usage())
        sys.exit(0 if words else 2)
    command, arguments = words[0], words[1:]
    if command not in RUNNERS:
        print(f"error: unknown command {command!r}: expected one of {', '.join(RUNNERS)}", file=sys.stderr)
        sys.exit(2)
    try:
        RUNNERS[command](command, arguments)
    except UserError as error:
        # A data worker's error arrives wrapped in that worker's traceback; its last line is the message.
        message = str(error).split("UserError: ")[-1].strip()
        print(f"error: {message}", file=sys.stderr)
        sys.exit(2)

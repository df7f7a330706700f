"""The command line: Lightning's fit, validate, test and predict, and this project's own commands."""

import logging
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

from jsonargparse import ArgumentParser
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from omegaconf.errors import OmegaConfBaseException

from wsa_lightning.errors import UserError

PROGRAM = "python -m wsa_lightning"


@dataclass(frozen=True)
class Command:
    """One command: what ``--help`` says of it, an example, and for our own the function ``module:name`` behind it."""

    summary: str
    example: str
    function: str | None = None


_CHECKPOINT = "--config configs/wsa_w16_s4.yaml --ckpt_path runs/wsa_w16_s4/checkpoints/best.ckpt"
COMMANDS = {
    "fit": Command(
        "train a student from a teacher (or a teacher from scratch)",
        "--config configs/wsa_w16_s4.yaml --model.window 10 --model.sinks 8",
    ),
    "validate": Command(
        "score a model on the validation chunks; without --ckpt_path the student before training", _CHECKPOINT
    ),
    "test": Command("score a model on whole test songs", _CHECKPOINT),
    "predict": Command("separate the test songs into files", _CHECKPOINT),
    "data make": Command(
        "compose embedded songs into a folder, in the MUSDB18-HQ layout",
        "songs --songs 100 --seconds 20 --seed 1",
        "wsa_lightning.commands.data:make",
    ),
}
TRAINER_COMMANDS = tuple(name for name, command in COMMANDS.items() if command.function is None)


def example(name: str) -> str:
    """A whole line a user can paste."""
    return f"{PROGRAM} {name} {COMMANDS[name].example}"


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

    def before_instantiate_classes(self) -> None:
        """Refuse a checkpoint that is none before anything is built."""
        path = self.config[self.subcommand].get("ckpt_path")
        if path is None or path in ("best", "last", "hpc"):
            return
        if not Path(path).is_file():
            raise UserError(f"--ckpt_path {path} is no file: expected a checkpoint such as RUN/checkpoints/last.ckpt")
        if not is_zipfile(path):
            raise UserError(
                f"--ckpt_path {path} is no Lightning checkpoint: expected RUN/checkpoints/*.ckpt; "
                "other model files go to --distillation.teacher"
            )

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
    warnings.filterwarnings("ignore", message=".*treespec.*")


def run_trainer() -> None:
    """``fit``, ``validate``, ``test`` or ``predict``, as ``sys.argv`` says."""
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
                name: {**options, "default_config_files": base, "epilog": f"example: {example(name)}"}
                for name in TRAINER_COMMANDS
            },
        },
        save_config_kwargs={"overwrite": True},
    )


def run_function(name: str, arguments: list[str]) -> None:
    """One of our own commands; its options are its function's parameters."""
    module, function_name = (COMMANDS[name].function or "").split(":")
    function: Callable[..., Any] = getattr(import_module(module), function_name)
    parser = ArgumentParser(
        prog=f"{PROGRAM} {name}",
        description=(function.__doc__ or "").splitlines()[0],
        epilog=f"example: {example(name)}",
    )
    parser.add_function_arguments(function, as_positional=True)
    options = parser.parse_args(arguments)
    function(**vars(options))


def usage() -> str:
    """The top-level help: every command with a line and an example."""
    lines = [f"usage: {PROGRAM} COMMAND [OPTIONS]", "", "commands:"]
    for name, command in COMMANDS.items():
        lines += [f"  {name:<11}{command.summary}", f"  {'':<11}  {example(name)}"]
    return "\n".join([*lines, "", f"{PROGRAM} COMMAND --help lists the options of a command."])


def find_command(words: list[str]) -> str:
    """The command that the first word or two name."""
    for name in (" ".join(words[:2]), words[0]):
        if name in COMMANDS:
            return name
    raise UserError(f"unknown command {' '.join(words[:2])!r}: expected one of {', '.join(COMMANDS)}")


def main() -> None:
    """Run one command; a ``UserError`` becomes one line on standard error and exit status 2."""
    words = sys.argv[1:]
    if not words or words[0] in ("-h", "--help", "help"):
        print(usage())
        sys.exit(0 if words else 2)
    try:
        name = find_command(words)
        if COMMANDS[name].function is None:
            run_trainer()
        else:
            run_function(name, words[len(name.split()) :])
    except OmegaConfBaseException as error:
        fail(f"in the configuration: {' '.join(str(error).split())}")
    except Exception as error:
        # Option parsers wrap what a constructor raises.
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, UserError):
            cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
        if cause is None:
            raise
        # A data worker's error arrives with that worker's traceback before it.
        fail(str(cause).split("UserError: ")[-1].strip())


def fail(message: str) -> None:
    """Say what is wrong in one line, and exit with status 2."""
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)

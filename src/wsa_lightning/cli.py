"""The command line: Lightning's fit, validate, test and predict, and this project's own commands."""

import inspect
import logging
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn, get_args, get_origin

import lightning as L
from docstring_parser import parse
from jsonargparse import ArgumentParser
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info
from omegaconf.errors import OmegaConfBaseException

from wsa_lightning.configs import base_config
from wsa_lightning.errors import UserError

PROGRAM = "python -m wsa_lightning"
TERMINATED = 128 + 15


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
    "test": Command(
        "score a model on whole test songs beside its teacher; without --ckpt_path the student before training",
        _CHECKPOINT,
    ),
    "predict": Command("separate the test songs into files", _CHECKPOINT),
    "convert": Command(
        "turn a model file into ours, the public layout or ONNX, a teacher into a student",
        "MelBandRoformer.ckpt student.safetensors --window 10 --sinks 8",
        "wsa_lightning.commands.convert:convert",
    ),
    "sweep": Command(
        "run every point of a grid, on this machine or a Slurm cluster, and compare them",
        "--config experiments/window_sink/sweep.yaml --only window=10",
        "wsa_lightning.commands.sweep:sweep",
    ),
    "data make": Command(
        "compose embedded songs into a folder, in the MUSDB18-HQ layout",
        "songs --songs 100 --seconds 20 --seed 1",
        "wsa_lightning.commands.data:make",
    ),
    "separate": Command(
        "separate songs of any length into stems",
        "SONGS/ --checkpoint small --out separated --stems vocals,instrumental",
        "wsa_lightning.commands.separate:separate",
    ),
    "flops": Command(
        "count what a teacher and its windowed student cost, at any duration",
        "--size kim --window 10 --sinks 8 --seconds 8 60 240",
        "wsa_lightning.commands.flops:flops",
    ),
    "attention": Command(
        "show where a model's attention looks, and which windows would hold it",
        "SONGS/ --checkpoint MelBandRoformer.ckpt --out attention",
        "wsa_lightning.commands.attention:attention",
    ),
    "compare": Command(
        "set finished runs side by side: table, Pareto front, report to listen to, TensorBoard events",
        "runs --out comparison",
        "wsa_lightning.commands.compare:compare",
    ),
    "data check": Command(
        "read every sample of a dataset and list what is wrong with it",
        "MUSDB18-HQ --json_file report.json",
        "wsa_lightning.commands.data:check",
    ),
    "data decode": Command(
        "turn MUSDB18's .stem.mp4 files into WAV files, once",
        "MUSDB18 MUSDB18-wav",
        "wsa_lightning.commands.data:decode",
    ),
    "doctor": Command(
        "try everything a run needs on this machine",
        "--root MUSDB18-HQ",
        "wsa_lightning.commands.doctor:doctor",
    ),
}
TRAINER_COMMANDS = tuple(name for name, command in COMMANDS.items() if command.function is None)


def example(name: str) -> str:
    """A whole line a user can paste."""
    return f"{PROGRAM} {name} {COMMANDS[name].example}"


class SaveRunConfig(SaveConfigCallback):
    """Writes the options of ``fit`` to ``RUN/config.yaml``, those of another command to ``RUN/config.COMMAND.yaml``."""

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Choose the name, then write."""
        command = TrainerFn(stage).value
        if command != "fit":
            self.config_filename = f"config.{command}.yaml"
        super().setup(trainer, pl_module, stage)


class WsaCLI(LightningCLI):
    """LightningCLI with this project's callbacks as option groups, and ``configs/base.yaml`` underneath."""

    model_file: str | None = None
    """A model file given as ``--ckpt_path``, where Lightning's own checkpoints are expected."""

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
        from wsa_lightning.training.callbacks.evaluation import EvaluationCallback

        evaluation = next(c for c in self.trainer.callbacks if isinstance(c, EvaluationCallback))  # type: ignore[attr-defined]
        if not evaluation.failed:
            return
        if self.trainer.is_global_zero:
            songs = "".join(f"\n  {song}: {reason}" for song, reason in sorted(evaluation.failed.items()))
            print(f"error: {len(evaluation.failed)} songs failed and are in no score:{songs}", file=sys.stderr)
        sys.exit(1)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Option groups of the callbacks every run has; they run in this order."""
        from wsa_lightning.training.callbacks.annealing import SinkWarmupCallback, WindowAnnealingCallback
        from wsa_lightning.training.callbacks.averaging import EMACallback
        from wsa_lightning.training.callbacks.closing import ClosingCallback
        from wsa_lightning.training.callbacks.distillation import DistillationCallback
        from wsa_lightning.training.callbacks.evaluation import EvaluationCallback
        from wsa_lightning.training.callbacks.finite import FiniteCallback
        from wsa_lightning.training.callbacks.flops import FlopCounterCallback
        from wsa_lightning.training.callbacks.listening import ListeningCallback
        from wsa_lightning.training.callbacks.progress import ProgressCallback
        from wsa_lightning.training.callbacks.recovery import RecoveryCallback
        from wsa_lightning.training.callbacks.stems import StemWriterCallback

        parser.add_lightning_class_args(DistillationCallback, "distillation")
        parser.add_lightning_class_args(WindowAnnealingCallback, "annealing")
        parser.add_lightning_class_args(SinkWarmupCallback, "sink_warmup")
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
        from wsa_lightning.training.callbacks.memory import MemoryCallback
        from wsa_lightning.training.callbacks.ranks import RankWatchCallback
        from wsa_lightning.training.callbacks.waiting import WaitingCallback

        trainer = super().instantiate_trainer(**kwargs)
        trainer.callbacks[:0] = [RankWatchCallback(), MemoryCallback(), WaitingCallback()]  # type: ignore[attr-defined]
        return trainer

    def before_instantiate_classes(self) -> None:
        """Refuse a checkpoint that is none before anything is built; find out whose kind it is."""
        from wsa_lightning.checkpoints.files import is_resumable, resolve_path
        from wsa_lightning.training.callbacks.recovery import FOLDER, NAME
        from wsa_lightning.training.checkpoint_io import AtomicCheckpointIO, previous

        options = self.config[self.subcommand]
        path = options.get("ckpt_path")
        if path == "last":
            path = Path(options.trainer.default_root_dir) / FOLDER / NAME
        if path is None or path in ("best", "hpc"):
            return
        file = resolve_path(path)
        if self.subcommand != "fit" and file.is_file() and not is_resumable(file) and not previous(file).is_file():
            self.model_file = str(path)
            return
        try:
            options.ckpt_path = str(AtomicCheckpointIO.readable(file))
        except UserError as error:
            raise UserError(f"--ckpt_path: {error}; other model files go to --distillation.teacher") from None

    def after_instantiate_classes(self) -> None:
        """Load a model file in the place of a checkpoint, as it is: it says its own window and sinks."""
        from wsa_lightning.checkpoints import load
        from wsa_lightning.models import describe_window
        from wsa_lightning.training.callbacks.evaluation import EvaluationCallback

        if self.model_file is None:
            return
        self.config_init[self.subcommand]["ckpt_path"] = None
        network = load(self.model_file)
        self.model.take(network)
        for callback in self.trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, EvaluationCallback):
                callback.model_file = self.model_file
        config = network.config
        rank_zero_info(
            f"{self.model_file}: window {describe_window(config.window)}, {config.sinks} sinks, as in the file "
            "(model.window and model.sinks are for students made from a teacher)"
        )

    def _parse_ckpt_path(self) -> None:
        """Leave the options alone: a checkpoint's hyper-parameters must not beat the command line."""


def quiet_lightning() -> None:
    """Drop advertisements and a deprecation inside Lightning: what remains on the terminal is about the run."""
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(
        lambda record: "litlogger" not in record.getMessage()
    )
    warnings.filterwarnings("ignore", message=".*treespec.*")


def run_trainer() -> None:
    """``fit``, ``validate``, ``test`` or ``predict``, as ``sys.argv`` says."""
    from lightning.pytorch.utilities.exceptions import SIGTERMException

    from wsa_lightning.training import MUSDBDataModule
    from wsa_lightning.training.callbacks.ranks import is_child, mark_launcher
    from wsa_lightning.training.module import SeparationModule

    quiet_lightning()
    mark_launcher()
    options = {"parser_mode": "omegaconf+"}
    base = [str(base_config())]
    try:
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
            save_config_callback=SaveRunConfig,
            save_config_kwargs={"overwrite": True},
        )
    except SIGTERMException:
        # Lightning would exit with 0, as if the run were finished. Rank 0 speaks for all.
        sys.exit(0 if is_child() else TERMINATED)


def run_function(name: str, arguments: list[str]) -> None:
    """One of our own commands; its options are its function's parameters, or what ``FUNCTION_options`` adds."""
    module_name, function_name = (COMMANDS[name].function or "").split(":")
    module = import_module(module_name)
    function: Callable[..., Any] = getattr(module, function_name)
    parser = ArgumentParser(
        prog=f"{PROGRAM} {name}",
        description=(function.__doc__ or "").splitlines()[0],
        epilog=f"example: {example(name)}",
    )
    if (add_options := getattr(module, f"{function_name}_options", None)) is not None:
        add_options(parser)
        function(**vars(parser.parse_args(arguments)))
        return
    lists = {
        key: parameter
        for key, parameter in inspect.signature(function).parameters.items()
        if get_origin(parameter.annotation) is list
    }
    flags = {key for key, parameter in inspect.signature(function).parameters.items() if parameter.default is False}
    parser.add_function_arguments(function, as_positional=True, skip={*lists, *flags})
    for key, parameter in lists.items():
        _add_words(parser, key, parameter, _parameter_help(function, key))
    for key in sorted(flags):  # ``--overwrite`` by itself, where jsonargparse wants ``--overwrite true``
        description = _parameter_help(function, key)
        parser.add_argument(f"--{key}", type=bool, nargs="?", const=True, default=False, help=description)
    options = parser.parse_args([_underscored(word) for word in arguments])
    function(**vars(options))


def _underscored(word: str) -> str:
    """``--batch-size=2`` as the parser knows it, ``--batch_size=2``: people type both."""
    option, equals, value = word.partition("=")
    return f"--{option[2:].replace('-', '_')}{equals}{value}" if option.startswith("--") else word


def _add_words(parser: ArgumentParser, key: str, parameter: inspect.Parameter, description: str) -> None:
    """An option or positional that takes one word or more, ``--seconds 8 60``, where jsonargparse wants ``[8,60]``."""
    required = parameter.default is inspect.Parameter.empty
    parser.add_argument(
        key if required else f"--{key}",
        nargs="+",
        type=get_args(parameter.annotation)[0],
        help=description,
        **({} if required else {"default": parameter.default}),
    )


def _parameter_help(function: Callable[..., Any], key: str) -> str:
    documented = {param.arg_name: param.description or "" for param in parse(function.__doc__ or "").params}
    return documented.get(key, "")


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
        from wsa_lightning.training.callbacks.memory import REMEDIES, is_out_of_memory

        # Option parsers wrap what a constructor raises.
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, UserError):
            cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
        if cause is None and is_out_of_memory(error):
            fail(f"out of memory ({str(error).strip().splitlines()[0][:200]}): {REMEDIES}")
        if cause is None:
            raise
        # A data worker's error arrives with that worker's traceback before it.
        fail(str(cause).split("UserError: ")[-1].strip())


def fail(message: str) -> NoReturn:
    """Say what is wrong in one line, and exit with status 2; of the ranks of one run only one speaks."""
    if "lightning" in sys.modules:
        from wsa_lightning.training.callbacks.ranks import is_child, parent_fails_too

        if is_child() and parent_fails_too():
            sys.exit(2)
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)

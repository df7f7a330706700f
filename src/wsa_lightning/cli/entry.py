"""One command line in, one exit status out."""

import os
import sys
from collections.abc import Iterable
from importlib import import_module

from omegaconf.errors import OmegaConfBaseException

import wsa_lightning
from wsa_lightning.cli.messages import fail
from wsa_lightning.cli.options import run_function
from wsa_lightning.cli.registry import COMMANDS, find_command, usage
from wsa_lightning.errors import UserError, first_line, is_out_of_memory

INTERRUPTED = 128 + 2
BROKEN_PIPE = 128 + 13
PLUGINS = "WSA_LIGHTNING_PLUGINS"
"""Environment variable that names modules to import before any command, separated by commas."""


def main() -> None:
    """Run one command; a ``UserError`` becomes one line on standard error and exit status 2."""
    try:
        try:
            run(sys.argv[1:])
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except BrokenPipeError:  # the reader has gone, as in `... --help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes again at exit
        sys.exit(BROKEN_PIPE)


def import_plugins(names: Iterable[str]) -> None:
    """Import modules that register loss terms, metrics or time mixers of their own.

    Raises:
        UserError: a module that cannot be found.
    """
    for name in names:
        try:
            import_module(name)
        except ModuleNotFoundError as error:
            raise UserError(
                f"plugins: {name} cannot be imported ({error}): name a module that is installed, or start from the "
                "folder that holds it"
            ) from error


def run(words: list[str]) -> None:
    """Run the command that ``words`` name."""
    if not words or words[0] in ("-h", "--help", "help"):
        print(usage())
        sys.exit(0 if words else 2)
    if words[0] == "--version":
        print(f"wsa-lightning {wsa_lightning.__version__}")
        return
    try:
        import_plugins(filter(None, os.environ.get(PLUGINS, "").split(",")))
        name = find_command(words)
        function = COMMANDS[name].function
        if function is None:
            from wsa_lightning.cli.trainer import run_trainer  # Lightning takes seconds to import

            run_trainer()
        else:
            run_function(name, function, words[len(name.split()) :])
    except KeyboardInterrupt:
        print("stopped by Ctrl-C", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except OmegaConfBaseException as error:
        fail(f"in the configuration: {' '.join(str(error).split())}")
    except Exception as error:
        # Option parsers wrap what a constructor raises.
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, UserError):
            cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
        if cause is None and is_out_of_memory(error):
            from wsa_lightning.training.callbacks.memory import REMEDIES

            fail(f"out of memory ({first_line(error)}): {REMEDIES}")
        if cause is None:
            raise
        # A data worker's error arrives after that worker's traceback.
        fail(str(cause).split("UserError: ")[-1].strip())

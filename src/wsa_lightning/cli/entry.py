"""One command line in, one exit status out."""

import sys
from typing import NoReturn

from omegaconf.errors import OmegaConfBaseException

from wsa_lightning.cli.function import run_function
from wsa_lightning.cli.table import COMMANDS, find_command, usage
from wsa_lightning.errors import UserError, first_line, is_out_of_memory

INTERRUPTED = 128 + 2


def main() -> None:
    """Run one command; a ``UserError`` becomes one line on standard error and exit status 2."""
    words = sys.argv[1:]
    if not words or words[0] in ("-h", "--help", "help"):
        print(usage())
        sys.exit(0 if words else 2)
    try:
        name = find_command(words)
        if COMMANDS[name].function is None:
            from wsa_lightning.cli.trainer import run_trainer  # Lightning takes seconds to import

            run_trainer()
        else:
            run_function(name, words[len(name.split()) :])
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
        # A data worker's error arrives with that worker's traceback before it.
        fail(str(cause).split("UserError: ")[-1].strip())


def fail(message: str) -> NoReturn:
    """Say what is wrong in one line, and exit with status 2; of the ranks of one run only one speaks."""
    if "lightning" in sys.modules:
        from wsa_lightning.reliability.ranks import is_child, parent_fails_too

        if is_child() and parent_fails_too():
            sys.exit(2)
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)

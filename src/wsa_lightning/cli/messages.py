"""A mistake on the command line is reported in one line, with exit status 2."""

import difflib
import os
import re
import sys
from typing import Any, NoReturn

from jsonargparse import ArgumentParser, Namespace

from wsa_lightning.errors import one_line

_KEY = re.compile(r'Parser key "([^"]+)"(?: element \d+)?:')
_UNKNOWN_OPTION = re.compile(r"unrecognized arguments: --([^\s=]+)|does not accept option '(.+)'")
_UNKNOWN_PARAMETER = re.compile(r"class_path '(.+)':\s+Option '(.+)' is not accepted")
_BROKEN_CLASS = re.compile(r"class_path '(.+)':\s+(.+)")
_NOT_A_SUBCLASS = re.compile(r"does not correspond to a subclass of (\w+)|\.(\w+)'>,.*\n.*\n.*class, but is abstract")
_NO_MODULE = re.compile(r"No module named '[^']+'")
_MISSING = re.compile(r"following arguments are required: ([\w.]+)")
_NOT_A_CLASS = re.compile(r"Expected a dot import path string: (.+)")
_VALUE = re.compile(
    r"(?:Given|Got) value: (.*?)(?:\. Got value: .*|$)|Not of type \w+: (?:(.+) does not conform|.+: '(.*)')",
    re.MULTILINE,
)
_TYPE = re.compile(r"(?:Expected (?:an? )?<class '(?:\w+\.)*|Not of type )(\w+)|Literal\[(.+?)\]")
_TYPE_NAMES = {
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
    "str": "text",
    "NoneType": "null",
    "Sequence": "a list",
    "list": "a list",
    "tuple": "a list",
    "dict": "a mapping",
    "PositiveInt": "an integer above 0",
    "NonNegativeInt": "an integer of at least 0",
    "PositiveFloat": "a number above 0",
    "NonNegativeFloat": "a number of at least 0",
    "ClosedUnitInterval": "a number from 0 to 1",
}


RENAMED = {
    "model.learning_rate": "model.optimizer.lr",
    "model.weight_decay": "model.optimizer.weight_decay",
    "model.warmup_steps": "model.lr_scheduler.warmup_steps",
    "model.final_lr_fraction": "model.lr_scheduler.final_fraction",
    **{
        f"model.{name}": f"model.config.{name}" for name in ("family", "dim", "depth", "heads", "dim_head", "mel_bands")
    },
}
"""Options of earlier versions."""


class OneLineParser(ArgumentParser):
    """Reports an error in one line, where jsonargparse would print the whole usage.

    The parser class of our own commands, and a mixin for the parser class of Lightning's commands.
    """

    config_file: str | os.PathLike[str] | None = None
    """The configuration file that is being read."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print what is wrong, and exit with status 2."""
        if not self.exit_on_error:  # jsonargparse tries the classes of a union with such parsers
            super().error(message, ex)
        parser: ArgumentParser = getattr(ex, "subcommand_parser", None) or self
        file = f"{self.config_file}: " if self.config_file else ""
        program = parser.prog.replace(" [options]", "")
        fail(f"{file}{explain(message, parser)}; `{program} --help` lists the options")

    def parse_path(self, path: str | os.PathLike[str], *args: Any, **kwargs: Any) -> Namespace:
        """Parse a configuration file; an error while it is read names the file."""
        self.config_file = path
        parsed = super().parse_path(path, *args, **kwargs)
        self.config_file = None
        return parsed


def fail(message: str) -> NoReturn:
    """Print an error in one line and exit with status 2; of the ranks of one run only one prints it."""
    if "lightning" in sys.modules:
        from wsa_lightning.reliability.ranks import is_child, parent_fails_too

        if is_child() and parent_fails_too():
            sys.exit(2)
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


def explain(message: str, parser: ArgumentParser) -> str:
    """An error of jsonargparse in one line: the option, its value and what is expected.

    Such an error has many lines if a value fits no type of a union; only its innermost part says what is wrong.
    """
    if unknown := _UNKNOWN_OPTION.search(message):
        return _explain_unknown(unknown[1] or unknown[2], parser)
    outside, *pairs = _KEY.split(message)
    if not pairs:
        return one_line(outside)
    keys, innermost = pairs[::2], pairs[-1]
    name = ".".join(dict.fromkeys(keys))  # a key is repeated for every type of a union
    if unknown := _UNKNOWN_PARAMETER.search(innermost):
        return _explain_unknown(f"{name}.{unknown[2]}", parser, f" of {unknown[1]}")
    if broken := _BROKEN_CLASS.search(innermost):
        return f"--{name} is {broken[1]}: {broken[2]}"
    if absent := _NO_MODULE.search(innermost):
        return f"--{name}: {absent[0]}"
    if missing := _MISSING.search(innermost):
        return f"--{name}.{missing[1]} is required"
    if (base := _NOT_A_SUBCLASS.search(innermost)) and (value := _VALUE.search(innermost)):
        return f"--{name} is {value[1]}: expected a subclass of {base[1] or base[2]} with all its abstract members"
    if (other := _NOT_A_CLASS.search(innermost)) and "<class 'float'>" not in innermost:
        return f"--{name} is {other[1]}: expected a class, such as package.module.Name"
    if (value := _VALUE.search(innermost)) and (types := _TYPE.findall(innermost, 0, value.end())):
        return f"--{name} is {value[1] or value[2] or value[3]}: expected {_expected(types)}"
    return f"--{name}: {one_line(innermost)}"


def _expected(types: list[tuple[str, str]]) -> str:
    """``an integer, keep or null`` of the type names and the choices in an error."""
    names: list[str] = []
    for kind, choices in types:
        names += [_TYPE_NAMES.get(kind, kind)] if kind else choices.replace("'", "").split(", ")
    *others, last = dict.fromkeys(names)
    return f"{', '.join(others)} or {last}" if others else last


def _explain_unknown(name: str, parser: ArgumentParser, owner: str = "") -> str:
    if name in RENAMED:
        return f"unknown option --{name}: it is --{RENAMED[name]} now"
    options = [key.replace(".init_args.", ".") for key, _ in parser.get_defaults().items()]
    nearest = difflib.get_close_matches(name, options, n=1, cutoff=0.8)
    return f"unknown option --{name}{owner}" + "".join(f", did you mean --{option}?" for option in nearest)

"""Our own commands: options and help of a command are its function's parameters and docstring."""

import inspect
from collections.abc import Callable
from importlib import import_module
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from docstring_parser import parse
from jsonargparse import ArgumentParser

from wsa_lightning.cli.table import COMMANDS, PROGRAM, example


def run_function(name: str, arguments: list[str]) -> None:
    """Call the function behind a command with what the command line says."""
    module_name, function_name = (COMMANDS[name].function or "").split(":")
    function: Callable[..., Any] = getattr(import_module(module_name), function_name)
    options = make_parser(name, function).parse_args([_underscored(word) for word in arguments])
    function(**vars(options))


def make_parser(name: str, function: Callable[..., Any]) -> ArgumentParser:
    """A parser for the parameters of ``function``.

    What stands before the ``*`` and has no default is positional, everything else an option. A flag that is False by
    default is said by its name alone. A list takes one word or more; if None by default, it may be said several times.
    """
    documented = parse(function.__doc__ or "")
    descriptions = {parameter.arg_name: parameter.description for parameter in documented.params}
    parser = ArgumentParser(
        prog=f"{PROGRAM} {name}", description=documented.short_description, epilog=f"example: {example(name)}"
    )
    for key, parameter in inspect.signature(function).parameters.items():
        _add(parser, key, parameter, descriptions.get(key) or "")
    return parser


def _add(parser: ArgumentParser, key: str, parameter: inspect.Parameter, description: str) -> None:
    required = parameter.default is parameter.empty
    positional = required and parameter.kind is not parameter.KEYWORD_ONLY
    how: dict[str, Any] = {"help": description.replace("%", "%%")}
    if not positional and required:
        how["required"] = True
    if (word := _word_of_list(parameter.annotation)) is not None:
        how |= {"type": word, "nargs": "+"}
        if not required:
            how |= {"action": "extend" if parameter.default is None else "store", "default": parameter.default}
    elif parameter.default is False:
        how["action"] = "store_true"
    else:
        how["type"] = parameter.annotation
        if not required:
            how["default"] = parameter.default
    parser.add_argument(key if positional else f"--{key}", **how)


def _word_of_list(annotation: Any) -> Any:
    """``float`` of ``list[float]`` and of ``list[float] | None``; None of anything else."""
    if get_origin(annotation) in (Union, UnionType):
        lists = [_word_of_list(part) for part in get_args(annotation) if part is not NoneType]
        return lists[0] if len(lists) == 1 else None
    return get_args(annotation)[0] if get_origin(annotation) is list else None


def _underscored(word: str) -> str:
    """``--batch-size=2`` as the parser knows it, ``--batch_size=2``: people type both."""
    option, equals, value = word.partition("=")
    return f"--{option[2:].replace('-', '_')}{equals}{value}" if option.startswith("--") else word

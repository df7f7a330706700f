"""Options and help of our own commands, read from a function's parameters and docstring."""

import inspect
from collections.abc import Callable
from importlib import import_module
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from docstring_parser import parse

from wsa_lightning.cli.messages import OneLineParser
from wsa_lightning.cli.registry import PROGRAM, example


def run_function(name: str, target: str, words: list[str]) -> None:
    """Call the function ``module:name`` behind a command with the options in ``words``."""
    module_name, function_name = target.split(":")
    function: Callable[..., None] = getattr(import_module(module_name), function_name)
    options = make_parser(name, function).parse_args([_underscored(word) for word in words])
    function(**vars(options))


def make_parser(name: str, function: Callable[..., None]) -> OneLineParser:
    """A parser for the parameters of ``function``.

    A parameter before the ``*`` without a default is positional, every other one is an option. A parameter whose
    default is False is a flag without a value. A list takes one or more words; if its default is None, the option may
    also be repeated.
    """
    documented = parse(function.__doc__ or "")
    descriptions = {parameter.arg_name: parameter.description or "" for parameter in documented.params}
    parser = OneLineParser(
        prog=f"{PROGRAM} {name}", description=documented.short_description, epilog=f"example: {example(name)}"
    )
    for key, parameter in inspect.signature(function).parameters.items():
        settings: dict[str, Any] = {"help": descriptions.get(key, "").replace("%", "%%")}
        if item := _item_of_list(parameter.annotation):
            settings |= {"type": item, "nargs": "+", "action": "extend" if parameter.default is None else "store"}
        elif parameter.default is False:
            settings["action"] = "store_true"
        else:
            settings["type"] = parameter.annotation
        if parameter.default is not parameter.empty:
            parser.add_argument(f"--{key}", default=parameter.default, **settings)
        elif parameter.kind is parameter.KEYWORD_ONLY:
            parser.add_argument(f"--{key}", required=True, **settings)
        else:
            parser.add_argument(key, **settings)
    return parser


def _item_of_list(annotation: object) -> object:
    """``float`` of ``list[float]`` and of ``list[float] | None``; None of anything else."""
    if get_origin(annotation) in (Union, UnionType):
        annotation, *others = (part for part in get_args(annotation) if part is not NoneType)
        if others:
            return None
    return get_args(annotation)[0] if get_origin(annotation) is list else None


def _underscored(word: str) -> str:
    """``--batch-size=2`` as ``--batch_size=2``: both spellings are accepted."""
    option, equals, value = word.partition("=")
    return f"--{option[2:].replace('-', '_')}{equals}{value}" if option.startswith("--") else word

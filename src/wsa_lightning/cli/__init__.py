"""The command line: Lightning's fit, validate, test and predict, and this project's own commands."""

from wsa_lightning.cli.entry import main
from wsa_lightning.cli.registry import COMMANDS

__all__ = ["COMMANDS", "main"]

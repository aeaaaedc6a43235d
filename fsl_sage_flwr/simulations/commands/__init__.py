"""Commands of ``fsl-sage``, one per file, each imported on use."""

import argparse
from collections.abc import Callable
from importlib import import_module

from rich.console import Console

Command = Callable[[argparse.Namespace, Console, Console], int]
"""Maps arguments, and consoles for results and for errors, to an exit status."""


def command_named(name: str) -> Command:
    """Return the command with this name: ``NAME_command`` of the module ``NAME``."""
    command: Command = getattr(import_module(f".{name}", __name__), f"{name}_command")
    return command


__all__ = ["command_named"]

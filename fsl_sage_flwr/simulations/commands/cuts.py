"""``fsl-sage cuts``: where a model can be cut."""

import argparse

from rich.console import Console

from ..cut_table import cut_table
from ..settings import given


def cuts_command(options: argparse.Namespace, console: Console, errors: Console) -> int:
    """Print the table of cuts."""
    values = given(options.preset, [f"model={options.model}", *options.settings])
    found = cut_table(values, tuple(options.image), options.classes, options.depth)
    # A pipe has no width, so choose one at which no column is cut off.
    wide = console if console.is_terminal else Console(width=200)
    wide.print(found)
    return 0

"""``fsl-sage cuts``: list the cuts of a model."""

import argparse

from rich.console import Console

from ...command_line.arguments.cuts import MODEL
from ..cut_table import cut_table
from ..settings import given
from .printing import say, wide


def cuts_command(options: argparse.Namespace, console: Console, errors: Console) -> int:
    """Print the table of cuts."""
    model = [] if options.model is None else [f"model={options.model}"]
    values = {"model": MODEL, **given(options.preset, [*model, *options.settings])}
    on = wide(console)
    image = tuple(options.image)
    table, left_out = cut_table(values, image, options.classes, options.depth, on.width)
    on.print(table)
    if left_out:
        say(
            errors,
            f"fsl-sage: {on.width} columns are too few for {', '.join(left_out)}; widen the "
            "terminal, or write to a file: fsl-sage cuts … > cuts.txt",
        )
    return 0

"""``fsl-sage cuts``: where a model can be cut."""

import argparse

from rich.console import Console

from ..cut_table import cut_table
from ..settings import given


def cuts_command(options: argparse.Namespace, console: Console, errors: Console) -> int:
    """Print the table of cuts."""
    values = given(options.preset, [f"model={options.model}", *options.settings])
    # A pipe has no width, so choose one at which no column is cut off.
    wide = console if console.is_terminal else Console(width=200)
    image = tuple(options.image)
    table, left_out = cut_table(values, image, options.classes, options.depth, wide.width)
    wide.print(table)
    if left_out:
        errors.print(
            f"fsl-sage: {wide.width} columns are too few for {', '.join(left_out)}; widen the "
            "terminal, or write to a file: fsl-sage cuts … > cuts.txt",
            markup=False, highlight=False, soft_wrap=True,
        )  # fmt: skip
    return 0

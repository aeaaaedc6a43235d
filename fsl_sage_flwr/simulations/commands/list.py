"""``fsl-sage list``: list the names that a run can use."""

import argparse

from rich.console import Console
from rich.table import Table

from ..known_names import NAMES


def list_command(options: argparse.Namespace, console: Console, errors: Console) -> int:
    """Print the names, their descriptions and their packages."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("name", "what", "from"):
        table.add_column(heading, overflow="fold")
    for known in NAMES[options.kind]():
        table.add_row(known.name, known.what, known.source)
    console.print(table, highlight=False)
    return 0

"""``fsl-sage compare``: compare two runs."""

import argparse
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

from ...analysis.compare import Difference, load_pair, result_differences, setting_differences
from ...analysis.comparison import MIB
from .printing import say, wide


def compare_command(options: argparse.Namespace, console: Console, errors: Console) -> int:
    """Print the differences."""
    first, second = load_pair(options.first, options.second)
    settings = setting_differences(first, second)
    results, notes = result_differences(
        first, second, target=options.target, mean_of=options.mean_of, count=options.count,
        budget=None if options.budget_mib is None else options.budget_mib * MIB,
    )  # fmt: skip
    say(console, f"A: {first.name}\nB: {second.name}\n")
    on = wide(console)
    if settings:
        on.print(_table("setting", settings))
    else:
        say(console, "no setting differs")
    say(console, "")
    on.print(_table("result", results))
    for note in notes:
        say(errors, note)
    return 0


def _table(heading: str, lines: Iterable[Difference]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    figures = heading == "result"
    table.add_column(heading, no_wrap=True)
    for name in ("A", "B"):
        table.add_column(name, justify="right" if figures else "left", overflow="fold")
    if figures:
        table.add_column("A to B", justify="right", no_wrap=True)
    for line in lines:
        cells = (line.name, line.first, line.second, line.change)
        table.add_row(*(cells if figures else cells[:-1]))
    return table

"""``fsl-sage compare``: what differs between two runs."""

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ..comparison import MIB
from ..two_runs import Difference, result_differences, setting_differences, two_runs
from .options import add_counting_options, say


def add_compare_command(commands: Any) -> None:
    """Add this command to the parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "compare",
        help="what differs between two runs, in configuration and in result",
        description="Compare two runs of any state: the settings that differ, and every figure.",
    )
    parser.add_argument("first", type=Path, metavar="A", help="directory of a run")
    parser.add_argument("second", type=Path, metavar="B", help="directory of another run")
    add_counting_options(parser)
    parser.set_defaults(command=_compare)


def _compare(options: argparse.Namespace, console: Console, errors: Console) -> int:
    first, second = two_runs(options.first, options.second)
    settings = setting_differences(first, second)
    results, notes = result_differences(
        first, second, target=options.target, count=options.count,
        budget=None if options.budget_mib is None else options.budget_mib * MIB,
    )  # fmt: skip
    say(console, f"A: {first.name}\nB: {second.name}\n")
    # A pipe has no width, so choose one at which no column is cut off.
    wide = console if console.is_terminal else Console(width=200)
    if settings:
        wide.print(_table("setting", settings))
    else:
        say(console, "no setting differs")
    say(console, "")
    wide.print(_table("result", results))
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

"""``fsl-sage results``: a table, or all rows."""

import argparse
from pathlib import Path
from typing import Any

from rich.console import Console

from ..load_results import load_results
from ..result_table import format_table
from .options import add_comparison_options, comparison_of, say, write


def add_results_command(commands: Any) -> None:
    """Add this command to the parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "results",
        help="a table of results, with mean and deviation over the seeds",
        description="Print a table of the completed runs under a directory, one row per "
        "setting, with mean and standard deviation over the seeds.",
    )
    add_comparison_options(parser)
    parser.add_argument(
        "--format", choices=("markdown", "csv", "latex"), default="markdown",
        help="format of the table (markdown); csv has unformatted numbers",
    )  # fmt: skip
    parser.add_argument(
        "--rounds", action="store_true",
        help="print every round of every run with all its settings as CSV, instead of the table",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, metavar="FILE", help="write to a file instead")
    parser.set_defaults(command=_results)


def _results(options: argparse.Namespace, console: Console, errors: Console) -> int:
    results = load_results(options.directory)
    notes: tuple[str, ...] = ()
    if options.rounds:
        text = results.to_csv(index=False)
    else:
        comparison = comparison_of(options, results)
        text, notes = format_table(comparison, options.format), comparison.notes
    if options.out is None:
        say(console, text, end="")
    else:
        write(options.out, text.encode())
        say(console, str(options.out))
    for note in notes:
        say(errors, note)
    return 0

"""``fsl-sage runs``: the runs under a directory, of every state."""

import argparse
from pathlib import Path
from typing import Any

from rich.console import Console

from ..load_results import read_runs
from ..run_table import reasons, run_table
from .options import say


def add_runs_command(commands: Any) -> None:
    """Add this command to the parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "runs",
        help="list runs: status, rounds, accuracy, bytes, age",
        description="List every run under a directory, also those that are at work, failed or "
        "were interrupted. Age: since a run last wrote a file.",
    )
    parser.add_argument("directory", type=Path, metavar="DIR", help="directory of results")
    parser.set_defaults(command=_runs)


def _runs(options: argparse.Namespace, console: Console, errors: Console) -> int:
    runs = read_runs(options.directory)
    # A pipe has no width, so choose one at which no column is cut off.
    wide = console if console.is_terminal else Console(width=200)
    wide.print(run_table(runs))
    for line in reasons(runs):
        say(errors, line)
    return 0

"""``fsl-sage runs``: list the runs under a directory, of every state."""

import argparse
from pathlib import Path
from typing import Any


def add_runs_arguments(commands: Any) -> None:
    """Add the command to the parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "runs",
        help="list runs: status, rounds, accuracy, bytes, age",
        description="List every run under a directory, including active, failed and interrupted "
        "ones. Age: time since a run last wrote a file.",
    )
    parser.add_argument("directory", type=Path, metavar="DIR", help="directory of results")
    parser.set_defaults(command="runs")

"""``fsl-sage results``: print a table of results, or all rows."""

import argparse
from pathlib import Path
from typing import Any

from .comparison import add_comparison_arguments


def add_results_arguments(commands: Any) -> None:
    """Add the command to the parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "results",
        help="print a table of results, with mean and deviation over the seeds",
        description="Print a table of the completed runs under a directory, one row per "
        "setting, with mean and standard deviation over the seeds.",
    )
    add_comparison_arguments(parser)
    parser.add_argument(
        "--format", choices=("markdown", "csv", "latex"), default="markdown",
        help="format of the table (default: markdown); csv has unformatted numbers",
    )  # fmt: skip
    parser.add_argument(
        "--rounds", action="store_true",
        help="print every round of every run with all its settings as CSV, instead of the table",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, metavar="FILE", help="write to a file instead")
    parser.set_defaults(command="results")

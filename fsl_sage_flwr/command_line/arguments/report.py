"""``fsl-sage report``: write one HTML page."""

import argparse
from pathlib import Path
from typing import Any

from .comparison import add_bandwidth_argument, add_comparison_arguments


def add_report_arguments(commands: Any) -> None:
    """Add the command to the parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "report",
        help="write one HTML page with tables, pictures and every run",
        description="Write one self-contained HTML page about the runs under a directory: tables, "
        "pictures, settings, each run's configuration and the command that repeats it.",
    )
    add_comparison_arguments(parser)
    add_bandwidth_argument(parser)
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="output file (default: DIR/report.html)"
    )
    parser.set_defaults(command="report")

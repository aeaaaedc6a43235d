"""``fsl-sage compare``: compare two runs."""

import argparse
from pathlib import Path
from typing import Any

from .comparison import add_counting_arguments


def add_compare_arguments(commands: Any) -> None:
    """Add the command to the parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "compare",
        help="compare two runs, in configuration and in results",
        description="Compare two runs of any state: the settings that differ, and every figure.",
    )
    parser.add_argument("first", type=Path, metavar="A", help="directory of a run")
    parser.add_argument("second", type=Path, metavar="B", help="directory of another run")
    add_counting_arguments(parser)
    parser.set_defaults(command="compare")

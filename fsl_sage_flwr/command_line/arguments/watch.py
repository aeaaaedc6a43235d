"""``fsl-sage watch``: show live curves of the runs under a directory."""

import argparse
from pathlib import Path
from typing import Any


def add_watch_arguments(commands: Any) -> None:
    """Add the command to the parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "watch",
        help="show live curves of the runs under a directory",
        description="Show the runs under a directory in the terminal, with growing curves, "
        "until none is active. Ctrl-C ends the watching, not the runs.",
    )
    parser.add_argument("directory", type=Path, metavar="DIR", help="directory of results")
    parser.set_defaults(command="watch")

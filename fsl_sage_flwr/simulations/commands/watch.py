"""``fsl-sage watch``: live curves of the runs under a directory."""

import argparse
from pathlib import Path
from typing import Any

from rich.console import Console

from ..run_table import reasons
from .options import say


def add_watch_command(commands: Any) -> None:
    """Add this command to the parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "watch",
        help="live curves of the runs under a directory",
        description="Show the runs under a directory in the terminal, with curves that grow, "
        "until none is at work. Ctrl-C ends the watching, not the runs.",
    )
    parser.add_argument("directory", type=Path, metavar="DIR", help="directory of results")
    parser.set_defaults(command=_watch)


def _watch(options: argparse.Namespace, console: Console, errors: Console) -> int:
    from ..watching import watch

    try:
        runs = watch(options.directory, console)
    except KeyboardInterrupt:  # the runs go on: cli's words about ended processes are not true here
        return 130
    for line in reasons(runs):
        say(errors, line)
    return 0

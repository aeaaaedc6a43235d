"""``fsl-sage report``: one HTML page."""

import argparse
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from ..load_results import read_runs, rows_of
from .options import add_bandwidth_option, add_comparison_options, comparison_of, say, write


def add_report_command(commands: Any) -> None:
    """Add this command to the parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "report",
        help="one HTML page with tables, pictures and every run",
        description="Write one self-contained HTML page about the runs under a directory: tables, "
        "pictures, settings, each run's configuration and how to repeat it.",
    )
    add_comparison_options(parser)
    add_bandwidth_option(parser)
    parser.add_argument("--out", type=Path, metavar="FILE", help="output file (DIR/report.html)")
    parser.set_defaults(command=_report)


def _report(options: argparse.Namespace, console: Console, errors: Console) -> int:
    from ..report import report_page

    runs = read_runs(options.directory)
    comparison = comparison_of(options, rows_of(runs))
    now = datetime.now().astimezone()
    page = report_page(options.directory, runs, comparison, options.bandwidth, now)
    path = options.out or options.directory / "report.html"
    write(path, page.encode())
    say(console, str(path))
    for note in comparison.notes:
        say(errors, note)
    return 0

"""``fsl-sage report``: write one HTML page."""

import argparse
from datetime import datetime

from rich.console import Console

from ...analysis.load_results import read_runs, rows_of
from .options import comparison_of, write
from .printing import say


def report_command(options: argparse.Namespace, console: Console, errors: Console) -> int:
    """Write the page."""
    from ...analysis.report import report_page

    runs = read_runs(options.directory, lambda line: say(errors, line))
    comparison = comparison_of(options, rows_of(runs))
    now = datetime.now().astimezone()
    page = report_page(options.directory, runs, comparison, options.bandwidth, now)
    path = options.out or options.directory / "report.html"
    write(path, page.encode())
    say(console, str(path))
    for note in comparison.notes:
        say(errors, note)
    return 0

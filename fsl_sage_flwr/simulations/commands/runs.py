"""``fsl-sage runs``: list the runs under a directory, of every state."""

import argparse

from rich.console import Console

from ...analysis.load_results import read_runs
from ...analysis.run_table import reasons, run_table
from .printing import say, wide


def runs_command(options: argparse.Namespace, console: Console, errors: Console) -> int:
    """List them."""
    runs = read_runs(options.directory, lambda line: say(errors, line))
    on = wide(console)
    on.print(run_table(runs))
    for line in reasons(runs):
        say(errors, line)
    return 0

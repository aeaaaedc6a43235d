"""``fsl-sage watch``: show live curves of the runs under a directory."""

import argparse

from rich.console import Console

from ...analysis.run_table import reasons
from .printing import say


def watch_command(options: argparse.Namespace, console: Console, errors: Console) -> int:
    """Watch them."""
    from ...analysis.watching import watch

    try:
        runs = watch(options.directory, console, say=lambda line: say(errors, line))
    except KeyboardInterrupt:  # the runs continue, so cli's message about them would be wrong
        return 130
    for line in reasons(runs):
        say(errors, line)
    return 0

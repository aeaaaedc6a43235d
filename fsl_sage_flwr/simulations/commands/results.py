"""``fsl-sage results``: print a table of results, or all rows."""

import argparse

from rich.console import Console

from ...analysis.load_results import load_results
from ...analysis.result_table import format_table
from .options import comparison_of, write
from .printing import say


def results_command(options: argparse.Namespace, console: Console, errors: Console) -> int:
    """Print a table, or all rows."""
    results = load_results(options.directory, lambda line: say(errors, line))
    notes: tuple[str, ...] = ()
    if options.rounds:
        text = results.to_csv(index=False)
    else:
        comparison = comparison_of(options, results)
        text, notes = format_table(comparison, options.format), comparison.notes
    if options.out is None:
        say(console, text, end="")
    else:
        write(options.out, text.encode())
        say(console, str(options.out))
    for note in notes:
        say(errors, note)
    return 0

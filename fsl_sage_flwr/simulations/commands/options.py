"""What the commands for results share."""

import argparse
from pathlib import Path

import pandas as pd
from rich.console import Console

from ...app.config import ConfigError
from ..comparison import MIB, Comparison, compare


def comparison_of(options: argparse.Namespace, results: pd.DataFrame) -> Comparison:
    """Return the comparison of the results that the options describe."""
    budget = None if options.budget_mib is None else options.budget_mib * MIB
    return compare(
        results, target=options.target, budget=budget, count=options.count, spread=options.spread
    )


def write(path: Path, content: bytes) -> None:
    """Write a file.

    Raises
    ------
    ConfigError
        The file cannot be written.
    """
    if not path.parent.is_dir():
        raise ConfigError(f"--out {str(path)!r}: there is no directory {str(path.parent)!r}")
    try:
        path.write_bytes(content)
    except OSError as error:
        raise ConfigError(f"--out {str(path)!r} cannot be written: {error.strerror}") from error


def wide(console: Console) -> Console:
    """Return a console for a table: a pipe has no width, so no column is cut off there."""
    return console if console.is_terminal else Console(width=200)


def say(console: Console, text: str, end: str = "\n") -> None:
    """Print text unchanged, without colours and without breaking lines."""
    console.print(text, markup=False, highlight=False, soft_wrap=True, end=end)

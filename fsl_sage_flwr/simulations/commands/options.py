"""Parts shared by the commands for results."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ...analysis.comparison import MIB, Comparison, compare
from ...app.config import ConfigError

if TYPE_CHECKING:
    import pandas as pd


def comparison_of(options: argparse.Namespace, results: pd.DataFrame) -> Comparison:
    """Return the comparison of the results, by the command line's options."""
    budget = None if options.budget_mib is None else options.budget_mib * MIB
    return compare(
        results, target=options.target, mean_of=options.mean_of, budget=budget,
        count=options.count, spread=options.spread,
    )  # fmt: skip


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

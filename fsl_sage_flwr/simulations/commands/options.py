"""Options and helpers that the commands for results share."""

import argparse
from pathlib import Path
from typing import get_args

import pandas as pd
from rich.console import Console

from ...app.config import ConfigError
from ..comparison import MIB, Comparison, Count, compare
from ..spread import Spread

BANDWIDTH = 100.0


def add_comparison_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for the directory, the target, the budget, the bytes and the spread."""
    parser.add_argument("directory", type=Path, metavar="DIR", help="directory of results")
    add_counting_options(parser)
    parser.add_argument(
        "--spread", choices=get_args(Spread), default="deviation",
        help="what is given beside a mean over seeds: the standard deviation, or the 95 %% "
        "confidence interval of the mean (deviation)",
    )  # fmt: skip


def add_counting_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for the target, the budget and the counting of bytes."""
    parser.add_argument(
        "--target", type=_above_zero, metavar="ACC",
        help="target accuracy, 0 to 1, or perplexity or loss, whose cost is reported (the best "
        "that every setting reached)",
    )  # fmt: skip
    parser.add_argument(
        "--budget-mib", type=_above_zero, metavar="MIB",
        help="communication at which runs are compared (the smallest total of the runs)",
    )  # fmt: skip
    parser.add_argument(
        "--count", choices=get_args(Count), default="measured",
        help="count the bytes of all messages, or count as published figures do (measured)",
    )  # fmt: skip


def add_bandwidth_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--bandwidth``."""
    parser.add_argument(
        "--bandwidth", type=_above_zero, default=BANDWIDTH, metavar="MBIT",
        help=f"bandwidth of each client's link, Mbit/s, in the picture of times ({BANDWIDTH:g})",
    )  # fmt: skip


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


def say(console: Console, text: str, end: str = "\n") -> None:
    """Print text unchanged, without colours and without breaking lines."""
    console.print(text, markup=False, highlight=False, soft_wrap=True, end=end)


def _above_zero(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value

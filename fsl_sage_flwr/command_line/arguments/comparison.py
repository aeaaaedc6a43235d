"""Arguments shared by the commands that compare results."""

import argparse
from pathlib import Path

from .numbers import above_zero, positive

BANDWIDTH = 100.0
MEAN_OF = 3  # test accuracy swings by several points from round to round
COUNTS = ("measured", "reference")
SPREADS = ("deviation", "confidence")


def add_comparison_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options for the directory, the target, the budget, the bytes and the spread."""
    parser.add_argument("directory", type=Path, metavar="DIR", help="directory of results")
    add_counting_arguments(parser)
    parser.add_argument(
        "--spread", choices=SPREADS, default="deviation",
        help="spread beside a mean over seeds: the standard deviation, or the 95 %% "
        "confidence interval of the mean (default: deviation)",
    )  # fmt: skip


def add_counting_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options for the target, the budget and the counting of bytes."""
    parser.add_argument(
        "--target", type=above_zero, metavar="ACC",
        help="target accuracy, 0 to 1, or perplexity or loss, whose cost is reported (default: "
        "the best that every setting reached)",
    )  # fmt: skip
    parser.add_argument(
        "--mean-of", type=positive, default=MEAN_OF, metavar="ROUNDS",
        help="number of rounds whose mean is compared with the target and reported at the budget "
        f"(default: {MEAN_OF}); 1 for single rounds",
    )  # fmt: skip
    parser.add_argument(
        "--budget-mib", type=above_zero, metavar="MIB",
        help="communication at which runs are compared (default: the smallest total of the runs)",
    )  # fmt: skip
    parser.add_argument(
        "--count", choices=COUNTS, default="measured",
        help="count the bytes of all messages' contents, or as published figures do "
        "(default: measured)",
    )  # fmt: skip


def add_bandwidth_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--bandwidth``."""
    parser.add_argument(
        "--bandwidth", type=above_zero, default=BANDWIDTH, metavar="MBIT",
        help="bandwidth of each client's link, Mbit/s, in the picture of times "
        f"(default: {BANDWIDTH:g})",
    )  # fmt: skip

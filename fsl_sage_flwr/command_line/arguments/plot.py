"""``fsl-sage plot``: draw pictures of results."""

import argparse
from pathlib import Path
from typing import Any

from .comparison import add_bandwidth_argument, add_comparison_arguments

ALL = "all"
# The names in `simulations.pictures.KINDS`; a test compares them.
KIND_NAMES = (
    "accuracy-communication", "accuracy-rounds", "loss-communication", "loss-rounds",
    "accuracy-alpha", "scatter-alpha", "time", "align-interval", "head-size",
    "alignment-rounds", "bytes-rounds",
)  # fmt: skip
FORMATS = ("png", "svg")


def add_plot_arguments(commands: Any) -> None:
    """Add the command to the parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "plot",
        help="draw pictures of results",
        description="Draw the completed runs under a directory, as PNG and SVG.",
    )
    add_comparison_arguments(parser)
    add_bandwidth_argument(parser)
    parser.add_argument(
        "--kind", choices=(*KIND_NAMES, ALL), nargs="+", action="extend", metavar="KIND",
        help=f"{', '.join(KIND_NAMES)}, or all, which draws what the results allow (default: all)",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="output directory (default: DIR/pictures)"
    )
    parser.add_argument(
        "--format",
        type=_formats,
        default=FORMATS,
        metavar="png,svg",
        help="file formats (default: png,svg)",
    )
    parser.set_defaults(command="plot")


def _formats(text: str) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(text.split(",")))
    if not set(found) <= set(FORMATS):
        raise argparse.ArgumentTypeError(f"{text!r}: valid are png, svg and png,svg")
    return found

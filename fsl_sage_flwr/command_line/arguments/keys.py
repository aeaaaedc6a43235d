"""``fsl-sage keys``: the keys of the run configuration."""

import argparse
from typing import Any


def add_keys_arguments(commands: Any) -> None:
    """Add the command to the parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "keys",
        help="explain the keys of the run configuration",
        description="Explain every key of the run configuration: default, valid values, meaning, "
        "and the algorithms that use it.",
        epilog="fsl-sage keys noise; fsl-sage keys align; fsl-sage keys learning-rate",
    )
    parser.add_argument(
        "word", nargs="?", default="",
        help="explain only the keys whose name, group or algorithm contains the word; without such "
        "a key, the keys whose meaning contains it",
    )  # fmt: skip
    parser.set_defaults(command="keys")

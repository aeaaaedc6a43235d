"""``fsl-sage generate``: complete a prompt with a run's language model."""

import argparse
from pathlib import Path
from typing import Any

from .numbers import positive


def add_generate_arguments(commands: Any) -> None:
    """Add the command to the parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "generate",
        help="complete a prompt with a run's language model",
        description="Load the base model with the adapter of a completed run, and print the most "
        "likely completion of a prompt.",
    )
    parser.add_argument("run", type=Path, metavar="RUN_DIR", help="directory of a completed run")
    parser.add_argument("prompt", help="as in the prompt column of its dataset")
    parser.add_argument(
        "--max-new-tokens",
        type=positive,
        default=64,
        metavar="TOKENS",
        help="largest number of tokens (default: 64)",
    )
    parser.set_defaults(command="generate")

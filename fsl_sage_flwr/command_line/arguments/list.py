"""``fsl-sage list``: what a run can name."""

import argparse
from typing import Any

KINDS = (
    "models", "datasets", "distributions", "algorithms", "codecs", "tasks", "trackers", "presets",
)  # fmt: skip


def add_list_arguments(commands: Any) -> None:
    """Add the command to the parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "list",
        help="what a run can name: models, datasets, …",
        description="List what a run can name, and which package it comes from.",
    )
    parser.add_argument("kind", choices=KINDS, metavar="KIND", help=", ".join(KINDS))
    parser.set_defaults(command="list")

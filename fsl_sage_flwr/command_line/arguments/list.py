"""``fsl-sage list``: list the names that a run can use."""

import argparse
from typing import Any

KINDS = (
    "models", "datasets", "distributions", "algorithms", "codecs", "tasks", "trackers", "presets",
)  # fmt: skip


def add_list_arguments(commands: Any) -> None:
    """Add the command to the parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "list",
        help="list the names that a run can use: models, datasets, …",
        description="List the names that a run can use, with their packages.",
    )
    parser.add_argument("kind", choices=KINDS, metavar="KIND", help=", ".join(KINDS))
    parser.set_defaults(command="list")

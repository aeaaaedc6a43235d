"""``fsl-sage run``: run one simulation."""

import argparse
from typing import Any

from ..completion import completed_by, keys, names
from ..presets import preset_names
from .federation import add_federation_arguments


def add_run_arguments(commands: Any) -> None:
    """Add the command to the parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "run",
        help="train in a simulation on this machine",
        description="Train in Flower's simulation on this machine.",
        epilog="key=value: any key of the run configuration, e.g. "
        "fsl-sage run --clients 10 model=resnet18 dataset=cifar10 distribution=iid",
    )
    words = parser.add_argument(
        "settings", nargs="*", metavar="key=value", help="run configuration"
    )
    add_federation_arguments(parser)
    preset = parser.add_argument(
        "--preset", help=f"a preset ({', '.join(preset_names())}), or a TOML file"
    )
    parser.add_argument(
        "--dry-run", action="store_true",
        help="print the configuration, the clients' examples, a round's bytes and the directory, "
        "and start nothing",
    )  # fmt: skip
    completed_by(words, keys)
    completed_by(preset, names(preset_names()))
    parser.set_defaults(command="run")

"""``fsl-sage cuts``: list the cuts of a model."""

import argparse
from typing import Any

from .numbers import positive

MODEL = "resnet18"


def add_cuts_arguments(commands: Any) -> None:
    """Add the command to the parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "cuts",
        help="list the cuts of a model and their costs",
        description="List a model's cuts with smashed data, sizes, FLOPs and bytes per round.",
        epilog="key=value: batch-size, local-epochs, and the options of any algorithm",
    )
    parser.add_argument("settings", nargs="*", metavar="key=value", help="run configuration")
    parser.add_argument(
        "--model", help=f"a model of the catalogue (default: {MODEL}, or the preset's)"
    )
    parser.add_argument(
        "--image", type=positive, nargs=3, default=(3, 32, 32), metavar=("C", "H", "W"),
        help="shape of an image (default: 3 32 32)",
    )  # fmt: skip
    parser.add_argument(
        "--classes", type=positive, default=10, help="number of classes (default: 10)"
    )
    parser.add_argument(
        "--depth", type=positive, default=2, help="depth of the search for submodules (default: 2)"
    )
    parser.add_argument("--preset", help="name of a preset, or a TOML file")
    parser.set_defaults(command="cuts")

"""``fsl-sage data``: show how a dataset is divided."""

import argparse
from pathlib import Path
from typing import Any

from .numbers import positive


def add_data_arguments(commands: Any) -> None:
    """Add the command to the parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "data",
        help="draw each client's examples by label",
        description="Draw how a run with these settings divides the dataset among its clients.",
    )
    parser.add_argument("--dataset", help="name or path of a dataset (default: digits)")
    parser.add_argument("--image-column", help="column of the images (default: the usual name)")
    parser.add_argument("--label-column", help="column of the labels (default: the usual name)")
    parser.add_argument("--distribution", help="division among the clients (default: iid)")
    parser.add_argument("--alpha", type=float, help="of noniid_dirichlet (default: 1.0)")
    parser.add_argument("--shards-per-client", type=int, help="of shards (default: 2)")
    parser.add_argument(
        "--clients", type=positive, default=4, help="number of clients (default: 4)"
    )
    parser.add_argument("--seed", type=int, help="the run's seed (default: 200)")
    parser.add_argument("--out", type=Path, metavar="FILE.png", help="the picture to write")
    parser.set_defaults(command="data")

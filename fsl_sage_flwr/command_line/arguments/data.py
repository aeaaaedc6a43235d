"""``fsl-sage data``: how a dataset is divided."""

import argparse
from pathlib import Path
from typing import Any

from .numbers import positive


def add_data_arguments(commands: Any) -> None:
    """Add the command to the parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "data",
        help="draw how many examples of each label each client has",
        description="Draw how a run with these settings divides the dataset among its clients.",
    )
    parser.add_argument("--dataset", help="a dataset's name or path (digits)")
    parser.add_argument("--image-column", help="column of the images (the usual name)")
    parser.add_argument("--label-column", help="column of the labels (the usual name)")
    parser.add_argument("--distribution", help="how it is divided (iid)")
    parser.add_argument("--alpha", type=float, help="for noniid_dirichlet (1.0)")
    parser.add_argument("--shards-per-client", type=int, help="for shards (2)")
    parser.add_argument("--clients", type=positive, default=4, help="number of clients (4)")
    parser.add_argument("--seed", type=int, help="the run's seed (200)")
    parser.add_argument("--out", type=Path, metavar="FILE.png", help="the picture to write")
    parser.set_defaults(command="data")

"""``fsl-sage data``: how a dataset is divided."""

import argparse
from pathlib import Path
from typing import Any

from rich.console import Console

from ...app.config import ConfigError, RunConfig
from ...data import DATASETS, DISTRIBUTIONS
from .federation_options import positive


def add_data_command(commands: Any) -> None:
    """Add this command to the parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "data",
        help="draw how many examples of each label each client has",
        description="Draw how a run with these settings divides the dataset among its clients.",
    )
    parser.add_argument("--dataset", help=f"{', '.join(DATASETS)} or a path (digits)")
    parser.add_argument("--distribution", help=f"{', '.join(DISTRIBUTIONS)} (iid)")
    parser.add_argument("--alpha", type=float, help="for noniid_dirichlet (1.0)")
    parser.add_argument("--shards-per-client", type=int, help="for noniid (2)")
    parser.add_argument("--clients", type=positive, default=4, help="number of clients (4)")
    parser.add_argument("--seed", type=int, help="the run's seed (200)")
    parser.add_argument("--out", type=Path, metavar="FILE.png", help="the picture to write")
    parser.set_defaults(command=_data)


def _data(options: argparse.Namespace, console: Console, errors: Console) -> int:
    # Imported here, because matplotlib takes a second to import and other commands do not need it.
    from ..label_picture import division_of, draw, summary

    keys = ("dataset", "distribution", "alpha", "shards-per-client", "seed")
    given = {key: getattr(options, key.replace("-", "_")) for key in keys}
    config = RunConfig.from_run_config({k: v for k, v in given.items() if v is not None})
    path = options.out or Path(
        f"{Path(config.dataset).name}-{config.distribution}-{options.clients}-clients.png"
    )
    if not path.parent.is_dir():
        raise ConfigError(f"--out {str(path)!r}: there is no directory {str(path.parent)!r}")
    division = division_of(config, options.clients)
    settings = {"noniid_dirichlet": f", alpha {config.alpha:g}"}
    settings["noniid"] = f", {config.shards_per_client} shards per client"
    how = f"{config.distribution}{settings.get(config.distribution, '')}"
    try:
        title = f"{Path(config.dataset).name}, {options.clients} clients, {how}, seed {config.seed}"
        draw(division, title, path)
    except OSError as error:
        raise ConfigError(f"--out {str(path)!r} cannot be written: {error.strerror}") from error
    console.print(f"{path}: {summary(division.counts)}", highlight=False, soft_wrap=True)
    return 0

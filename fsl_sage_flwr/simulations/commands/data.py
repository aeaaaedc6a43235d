"""``fsl-sage data``: show how a dataset is divided."""

import argparse
from pathlib import Path

from rich.console import Console

from ...app.config import ConfigError, RunConfig
from ...app.unused_keys import refuse_unused


def data_command(options: argparse.Namespace, console: Console, errors: Console) -> int:
    """Draw the picture, and print a summary."""
    # Imported here because matplotlib takes a second to import and other commands do not need it.
    from ..label_picture import division_of, draw, summary

    keys = ("dataset", "distribution", "alpha", "shards-per-client", "seed")
    values = {key: getattr(options, key.replace("-", "_")) for key in keys}
    values["data.image-column"] = options.image_column
    values["data.label-column"] = options.label_column
    given = {key: value for key, value in values.items() if value is not None}
    config = RunConfig.from_run_config(given)
    refuse_unused([config], given, given)
    path = options.out or Path(
        f"{Path(config.dataset).name}-{config.distribution}-{options.clients}-clients.png"
    )
    if not path.parent.is_dir():
        raise ConfigError(f"--out {str(path)!r}: there is no directory {str(path.parent)!r}")
    division = division_of(config, options.clients)
    settings = {"noniid_dirichlet": f", alpha {config.alpha:g}"}
    settings["shards"] = f", {config.shards_per_client} shards per client"
    how = f"{config.distribution}{settings.get(config.distribution, '')}"
    try:
        title = f"{Path(config.dataset).name}, {options.clients} clients, {how}, seed {config.seed}"
        draw(division, title, path)
    except OSError as error:
        raise ConfigError(f"--out {str(path)!r} cannot be written: {error.strerror}") from error
    console.print(f"{path}: {summary(division.counts)}", highlight=False, soft_wrap=True)
    return 0

"""``fsl-sage data``: show how a dataset is divided."""

from pathlib import Path
from typing import Annotated

import typer

from .options import Imports, Picture, Preset, Settings
from .printing import check_output, consoles, refuse_output, say


def data_command(
    settings: Settings = None,
    clients: Annotated[int, typer.Option(min=1, metavar="N", help="number of clients")] = 4,
    preset: Preset = None,
    out: Picture = None,
    imports: Imports = None,
) -> int:
    """Draw each client's examples by label, as a run with these settings divides the dataset.

    For example: fsl-sage data dataset=cifar10 distribution=noniid_dirichlet alpha=0.3
    """
    from ..app.config import RunConfig
    from ..app.unused_keys import refuse_unused
    from ..simulations.label_picture import division_of, draw, summary
    from ..simulations.settings import given

    values = given(preset, settings or [])
    config = RunConfig.from_run_config(values)
    refuse_unused([config], values, {word.partition("=")[0] for word in settings or []})
    path = out or Path(f"{Path(config.dataset).name}-{config.distribution}-{clients}-clients.png")
    check_output(path)
    division = division_of(config, clients)
    details = {
        "noniid_dirichlet": f", alpha {config.alpha:g}",
        "shards": f", {config.shards_per_client} shards per client",
    }
    how = f"{config.distribution}{details.get(config.distribution, '')}"
    title = f"{Path(config.dataset).name}, {clients} clients, {how}, seed {config.seed}"
    try:
        draw(division, title, path)
    except OSError as error:
        raise refuse_output(path, error) from error
    console, _ = consoles()
    say(console, f"{path}: {summary(division.counts)}")
    return 0

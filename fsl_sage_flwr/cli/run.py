"""``fsl-sage run``: run one simulation."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from .federation import (
    Clients,
    Cpus,
    CpusPerClient,
    Engine,
    FederationOptions,
    Gpus,
    GpusPerClient,
    RayAddress,
)
from .options import Imports, Preset, Settings
from .printing import consoles, say

if TYPE_CHECKING:
    from ..app.config import RunConfig
    from ..simulations.federation import Federation


def run_command(
    settings: Settings = None,
    clients: Clients = None,
    engine: Engine = "auto",
    cpus_per_client: CpusPerClient = None,
    gpus_per_client: GpusPerClient = None,
    cpus: Cpus = None,
    gpus: Gpus = None,
    ray_address: RayAddress = None,
    preset: Preset = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="print the configuration, the clients' examples, a round's bytes and the "
            "directory, and start nothing",
        ),
    ] = False,
    imports: Imports = None,
) -> int:
    """Train on this machine, in this process or in Flower's simulation, with a line per round.

    For example: fsl-sage run --clients 10 model=resnet18 dataset=cifar10 distribution=iid
    """
    # Read when NumPy and torch are imported. An inline run computes as Ray's processes do: NumPy
    # with one thread, on which the last bits of a norm depend, and threads that wait asleep.
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import psutil

    from ..simulations.dry_run import describe
    from ..simulations.engine import choose_engine
    from ..simulations.federation import INLINE
    from ..simulations.preflight import check_run
    from ..simulations.progress import RoundLines, table
    from ..simulations.run import simulate

    console, errors = consoles()
    given = FederationOptions(
        clients, engine, cpus_per_client, gpus_per_client, cpus, gpus, ray_address, imports
    )
    config, federation = _chosen(preset, settings or [], given)
    check_run(config, federation)
    choice = choose_engine(engine, config, federation, given.for_ray())
    federation = replace(federation, engine=choice.name)
    say(console, str(choice))
    if dry_run:
        shared = replace(config, virtual_clients=federation.virtual_clients)
        for part in describe(shared, federation):
            console.print(part, markup=False, highlight=False, soft_wrap=True)
        return 0
    say(
        console,
        f"{config.algorithm}: {config.model} on {config.dataset}, {config.distribution}, "
        f"{federation.clients} clients, {config.num_server_rounds} rounds",
    )
    spinner = federation.engine != INLINE
    with RoundLines(console, config.num_server_rounds, spinner=spinner) as lines:
        summary, path = simulate(config, federation, lines)
    if not summary["completed"]:
        say(errors, f"fsl-sage: the run failed: {summary['status']}\nits log: {summary['log']}")
        return 1
    console.print()
    console.print(table(summary, time.time() - psutil.Process().create_time()))
    say(console, f"results: {path}")
    return 0


def _chosen(
    preset: str | None, words: list[str], options: FederationOptions
) -> tuple[RunConfig, Federation]:
    """Return configuration and federation; a resuming run takes both from its directory."""
    from ..app.config import ConfigError, RunConfig
    from ..app.unused_keys import refuse_unused
    from ..simulations.resuming import with_run_settings
    from ..simulations.settings import absolute_paths, given

    ours = given(preset, words)
    values, before = with_run_settings(absolute_paths(ours))
    federation = options.federation()
    recorded = before.get("num-supernodes")
    if recorded is not None:
        if options.clients not in (None, recorded):
            raise ConfigError(
                f"--clients {options.clients}: the resuming run has {recorded}; leave it out"
            )
        federation = replace(federation, clients=recorded)
    config = RunConfig.from_run_config(values)
    refuse_unused([config], ours, {word.partition("=")[0] for word in words})
    return config, federation

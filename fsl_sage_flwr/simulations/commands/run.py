"""``fsl-sage run``: run one simulation."""

import argparse
import time
from dataclasses import replace

import psutil
from rich.console import Console

from ...app.config import ConfigError, RunConfig
from ...app.unused_keys import refuse_unused
from ...command_line.arguments.federation import AUTO
from ..dry_run import describe
from ..federation import Federation
from ..gpu_share import automatic_share
from ..preflight import check_run
from ..progress import RoundLines, table
from ..resuming import with_run_settings
from ..run import simulate
from ..settings import absolute_paths, given
from .federation_options import federation_of, usable_gpus
from .printing import say


def run_command(options: argparse.Namespace, console: Console, errors: Console) -> int:
    """Train in a simulation, with a line per round."""
    config, federation = _chosen(options)
    check_run(config, federation)
    if options.dry_run:
        shared = replace(config, virtual_clients=federation.virtual_clients)
        for part in describe(shared, federation):
            console.print(part, markup=False, highlight=False, soft_wrap=True)
        return 0
    if options.gpus_per_client == AUTO:
        chosen = automatic_share(config, federation.clients, usable_gpus(options))
        federation = replace(federation, gpus_per_client=chosen.share)
        console.print(chosen.text, highlight=False, soft_wrap=True)
    console.print(
        f"{config.algorithm}: {config.model} on {config.dataset}, {config.distribution}, "
        f"{federation.clients} clients, {config.num_server_rounds} rounds",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    with RoundLines(console, config.num_server_rounds) as lines:
        summary, path = simulate(config, federation, lines)
    if not summary["completed"]:
        say(errors, f"fsl-sage: the run failed: {summary['status']}\nits log: {summary['log']}")
        return 1
    console.print()
    console.print(table(summary, time.time() - psutil.Process().create_time()))
    console.print(f"results: {path}", highlight=False, soft_wrap=True)
    return 0


def _chosen(options: argparse.Namespace) -> tuple[RunConfig, Federation]:
    """Return configuration and federation; a resuming run takes both from its directory."""
    ours = given(options.preset, options.settings)
    values, before = with_run_settings(absolute_paths(ours))
    federation = federation_of(options)
    clients = before.get("num-supernodes")
    if clients is not None:
        if options.clients not in (None, clients):
            raise ConfigError(
                f"--clients {options.clients}: the resuming run has {clients}; leave it out"
            )
        federation = replace(federation, clients=clients)
    config = RunConfig.from_run_config(values)
    refuse_unused([config], ours, {word.partition("=")[0] for word in options.settings})
    return config, federation

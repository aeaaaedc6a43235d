"""The package's ServerApp: train as the run configuration says."""

import logging
import os
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from .app.assembly import (
    build_account,
    build_strategy,
    build_task,
    build_test_batches,
    finish_of,
    identify_data,
)
from .app.config import ConfigError, RunConfig
from .app.resume import checkpoint_for
from .app.run_directory_lock import lock_for_training
from .app.unused_keys import warn_of_unused
from .app.virtual_clock import budget_of, clock_of, grid_on_virtual_time
from .rounds.grid.inline_grid import InlineGrid
from .rounds.grid.simulation import is_simulation
from .runs.directory import RunDirectory
from .runs.log import logged_to
from .runs.log_lines import show_own_errors_in_one_line, show_times
from .runs.recorder import Recorder
from .strategies import VirtualClients

log = logging.getLogger("flwr.fsl_sage")

app = ServerApp()

show_times()
show_own_errors_in_one_line()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train by the run configuration, and write the results."""
    config = RunConfig.from_run_config(context.run_config)
    warn_of_unused(config, context.run_config)
    with lock_for_training(config) as path, logged_to(path):
        log.info("results: %s", path)
        _train(grid, config, path)


def _train(grid: Grid, config: RunConfig, path: Path) -> None:
    directory = RunDirectory(path)
    with directory.record_failure(log_error=True):
        directory.write_unused_keys(config.unused_keys())
        grid = _with_a_node_for_each_client(grid, config)
        grid = grid_on_virtual_time(grid, config)
        task = build_task(config)
        data = identify_data(config, download=True)
        recorder = Recorder(
            build_strategy(config, task),
            path,
            build_test_batches(config),
            settings={**config.to_run_config(), **(data.columns if data else {})},
            tracker=config.tracker,
            checkpoint_interval=config.checkpoint_interval,
            max_communication_mib=config.max_communication_mib,
            finish=finish_of(config),
            account=build_account(config, task),
            label_epsilon=config.privacy.label_epsilon,
            data=data.as_json() if data else None,
            budget=budget_of(config),
            clock=clock_of(config),
        )
        saved = checkpoint_for(config, Path(config.resume), data) if config.resume else None
    timeout = config.strategy.round_timeout
    recorder.train_held(grid, config.num_server_rounds, saved, timeout=timeout)


def _with_a_node_for_each_client(grid: Grid, config: RunConfig) -> Grid:
    clients = config.virtual_clients
    if not clients:
        return grid
    if not is_simulation(grid):
        raise ConfigError(
            f"virtual-clients = {clients}: only a simulation's nodes run several clients; leave "
            "it out, and start a SuperNode for each client"
        )
    if os.environ.get("RAY_ADDRESS", "local") not in ("", "local"):
        raise ConfigError(
            f"virtual-clients = {clients}: clients that share nodes have their state on one "
            "machine; on a Ray cluster leave it out, and give as many num-supernodes"
        )
    if isinstance(grid, InlineGrid):
        raise ConfigError(
            f"virtual-clients = {clients}: in one process each client has a node; leave it out, "
            f"and give clients={clients}"
        )
    return VirtualClients(grid, clients)

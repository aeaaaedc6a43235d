"""The ServerApp of this package's own runs: configuration to task to strategy to results."""

import logging
from pathlib import Path
from typing import Any

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from .assembly import build_task, build_test_batches
from .config import RunConfig
from .recorder import EnoughCommunicationError, Recorder
from .results import RunDirectory, run_path
from .splitting import AlignmentRecipe
from .strategies import (
    CseFsl,
    FslSage,
    FullModelFedAvg,
    SplitFedV1,
    SplitFedV2,
    SplitStrategy,
)
from .task import SplitTask

log = logging.getLogger("flwr.fsl_sage")

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train what the run configuration says, and write the results."""
    config = RunConfig.from_run_config(context.run_config)
    directory = RunDirectory(run_path(config))
    log.info("results: %s", directory.path)
    with directory.reporting_failure():
        task = build_task(config)
        strategy = build_strategy(config, task)
        recorder = Recorder(config, strategy, directory, build_test_batches(config))
        resumed = recorder.resume(Path(config.resume)) if config.resume else None
        arrays = resumed or strategy.initial_arrays()
        recorder.begin()
        try:
            result = strategy.start(
                grid=grid,
                initial_arrays=arrays,
                num_rounds=config.num_server_rounds - strategy.rounds_done,
                timeout=config.round_timeout,
                evaluate_fn=recorder.end_round,
            )
        except EnoughCommunicationError as enough:
            recorder.complete(enough.arrays)
        else:
            recorder.complete(result.arrays or arrays)


def build_strategy(config: RunConfig, task: SplitTask) -> SplitStrategy[Any]:
    """Return the strategy of the configured algorithm."""
    common: dict[str, Any] = {
        "keep_optimizer_state": config.keep_optimizer_state,
        "fraction_train": config.fraction_train,
        "fraction_evaluate": config.fraction_evaluate,
        "min_train_nodes": config.min_train_nodes,
        "round_timeout": config.round_timeout,
    }
    interval, width = config.server_update_interval, config.batches_per_exchange
    match config.algorithm:
        case "fed_avg":
            return FullModelFedAvg(task, **common)
        case "sl_multi_server":
            return SplitFedV1(task, batches_per_exchange=width, **common)
        case "sl_single_server":
            order = config.server_order
            return SplitFedV2(task, batches_per_exchange=width, server_order=order, **common)
        case "cse_fsl":
            return CseFsl(task, server_update_interval=interval, **common)
    return FslSage(
        task,
        server_update_interval=interval,
        align_interval=config.align_interval,
        align_dataset_size=config.align_dataset_size,
        warm_start=config.warm_start,
        recipe=AlignmentRecipe(
            epochs=config.align_epochs,
            batch_size=config.align_batch_size,
            schedule=config.align_lr_schedule,
        ),
        **common,
    )

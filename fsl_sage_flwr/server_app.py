"""The ServerApp of this package's own runs: configuration to task to strategy to results."""

import logging
from datetime import datetime, timezone
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from .assembly import build_task, build_test_batches
from .config import RunConfig
from .recorder import Recorder
from .results import RunDirectory
from .splitting import AlignmentRecipe
from .strategies import FslSage, SplitStrategy
from .task import SplitTask

log = logging.getLogger("flwr.fsl_sage")

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train what the run configuration says, and write the results."""
    config = RunConfig.from_run_config(context.run_config)
    task = build_task(config)
    strategy = build_strategy(config, task)
    directory = RunDirectory(run_path(config))
    recorder = Recorder(config, strategy, directory, build_test_batches(config))
    arrays = recorder.resume(Path(config.resume)) if config.resume else strategy.initial_arrays()
    log.info("results: %s", directory.path)
    with recorder:
        result = strategy.start(
            grid=grid,
            initial_arrays=arrays,
            num_rounds=config.num_server_rounds - strategy.rounds_done,
            timeout=config.round_timeout,
            evaluate_fn=recorder.end_round,
        )
        recorder.complete(result.arrays or arrays)


def build_strategy(config: RunConfig, task: SplitTask) -> SplitStrategy:
    """Return the strategy of the configured algorithm."""
    return FslSage(
        task,
        server_update_interval=config.server_update_interval,
        align_interval=config.align_interval,
        align_dataset_size=config.align_dataset_size,
        recipe=AlignmentRecipe(
            epochs=config.align_epochs,
            batch_size=config.align_batch_size,
            schedule=config.auxiliary_lr_schedule,
        ),
        keep_optimizer_state=config.keep_optimizer_state,
        fraction_train=config.fraction_train,
        min_train_nodes=config.min_train_nodes,
        round_timeout=config.round_timeout,
    )


def run_path(config: RunConfig) -> Path:
    """Return ``<results-dir>/<algorithm>/<model>/<dataset>-<distribution>/<run name>``."""
    dataset = Path(config.dataset).name
    name = config.run_name or f"{datetime.now(timezone.utc):%Y%m%d-%H%M%S}-seed{config.seed}"
    root = Path(config.results_dir).expanduser().absolute()
    return root / config.algorithm / config.model / f"{dataset}-{config.distribution}" / name

"""The ServerApp of this package's own runs: it trains what the configuration describes."""

import logging
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from .app.assembly import build_strategy, build_task, build_test_batches, finish_of
from .app.claim import claim_for_training, started_by_command
from .app.config import RunConfig
from .app.provenance import of_this_process
from .app.recorder import EnoughCommunicationError, Recorder
from .app.results import RunDirectory
from .app.trackers import open_tracker
from .strategies import DeadActorError, DivergedError

log = logging.getLogger("flwr.fsl_sage")

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train as the run configuration says, and write the results."""
    config = RunConfig.from_run_config(context.run_config)
    with claim_for_training(config) as path:
        log.info("results: %s", path)
        _train(grid, config, RunDirectory(path))


def _train(grid: Grid, config: RunConfig, directory: RunDirectory) -> None:
    with (
        directory.reporting_failure(),
        open_tracker(config.tracker, directory.path, config.to_run_config()) as tracker,
    ):
        task = build_task(config)
        strategy = build_strategy(config, task)
        recorder = Recorder(
            config, strategy, directory, build_test_batches(config), tracker, finish_of(config)
        )
        resumed = recorder.resume(Path(config.resume)) if config.resume else None
        arrays = resumed or strategy.initial_arrays()
        if not started_by_command():
            directory.write_provenance(of_this_process(), resumed=bool(config.resume))
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
        except (DivergedError, DeadActorError):
            recorder.save_last_good()
            raise
        else:
            recorder.complete(result.arrays or arrays)

"""One simulation, from settings to a finished run directory."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

from ..app.config import RunConfig
from ..app.provenance import of_this_process
from ..app.results import RunDirectory
from ..app.run_directory_lock import Claim, claim_for_command
from ..app.run_log import LOG
from ..app.trackers import require
from ..atomic_files import DiskError, writing
from ..cpus import usable_cpus
from ..nodes.client_folder import CACHE_VARIABLE, is_named, remove_run
from .app_directory import write_app
from .federation import Federation
from .process_environment import RAY_DIRECTORY, temporary_directory
from .progress import Watcher, follow
from .run_config_file import as_toml
from .superlink import SuperLink


def simulate(
    config: RunConfig,
    federation: Federation,
    watcher: Watcher | None = None,
    stop: Event | None = None,
) -> tuple[dict[str, Any], Path]:
    """Run one simulation on a new SuperLink.

    Parameters
    ----------
    config, federation : RunConfig, Federation
        What to train, and with which clients and resources.
    watcher : Watcher, optional
        Is told what the run does.
    stop : Event, optional
        Another thread sets this to end everything and to raise ``KeyboardInterrupt``.

    Returns
    -------
    tuple
        The run's summary, which has the path of the log under ``log`` if the run did not
        complete, and the run's directory. The log is ``run.log`` there.

    Raises
    ------
    ConfigError
        The directory holds a completed run, or another run is active in it.
    FlowerError
        Flower did not start, or refused the run.
    TrackerError
        The package of the requested tracker is not installed.
    """
    require(config.tracker)
    with claim_for_command(config) as claim:
        config = replace(
            config, run_name=claim.path.name, virtual_clients=federation.virtual_clients
        )
        return _simulate(config, federation, claim, watcher or Watcher(), stop), claim.path


@contextmanager
def clients_folder(path: Path, federation: Federation) -> Iterator[Mapping[str, str]]:
    """Give clients a folder of the run for their state; yield the variable that names it.

    A thousand clients keep gigabytes, which nobody needs after the run: it goes with it. Where the
    user has named a folder the run's part of it goes; and the machines of a cluster may share none.
    """
    if is_named() or federation.ray_address:
        yield {}
        return
    folder = path / "client-state"
    shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed here
    try:
        yield {CACHE_VARIABLE: str(folder)}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _simulate(
    config: RunConfig,
    federation: Federation,
    claim: Claim,
    watcher: Watcher,
    stop: Event | None,
) -> dict[str, Any]:
    path = claim.path
    run = RunDirectory(path)
    parent = temporary_directory()
    run.begin_simulation(federation.record(), resumed=bool(config.resume))
    run.write_provenance(_provenance(federation), resumed=bool(config.resume))
    with (
        tempfile.TemporaryDirectory(prefix="fsl-sage-", dir=parent) as name,
        clients_folder(path, federation) as folder,
        run.reporting_failure(),
        ExitStack() as when_all_have_ended,
    ):
        directory = Path(name)
        app = write_app(directory)
        run_config = directory / "run-config.toml"
        run_config.write_text(as_toml(config.to_run_config()), encoding="utf-8")
        log = _log_of(path, resumed=bool(config.resume))
        watcher.stage("SuperLink")
        with SuperLink(
            directory,
            app,
            log,
            federation.cpus_per_client,
            federation.cpus or usable_cpus(),
            federation.visible_gpus,
            federation.ray_address,
            {**claim.environment, **folder, RAY_DIRECTORY: parent},
        ) as superlink:
            watcher.stage("Ray and ServerApp")
            run_id = superlink.run(app, run_config, federation.options_for_flower())
            when_all_have_ended.callback(remove_run, run_id)
            summary = follow(
                path, lambda: superlink.status(run_id), watcher, stop, lambda: superlink.is_alive
            )
            if not summary["completed"]:
                superlink.keep_log_of(run_id)
        if not summary["completed"]:
            summary = {**summary, "log": str(log)}
            with suppress(DiskError):  # it is what the caller gets, in any case
                run.write_summary(summary)
    return summary


def _log_of(run: Path, *, resumed: bool) -> Path:
    """Return the file of a run's log: a resumed run appends to it.

    It is written there from the start, since a command that is killed cannot copy it any more.
    """
    log = run / LOG
    with writing(log):
        if not resumed:
            log.unlink(missing_ok=True)
        log.touch()
    return log


def _provenance(federation: Federation) -> dict[str, str | int]:
    """Return this process's, and the Ray cluster that its machine is only the server of."""
    cluster = federation.ray_address
    return {**of_this_process(), **({} if cluster is None else {"ray_address": cluster})}

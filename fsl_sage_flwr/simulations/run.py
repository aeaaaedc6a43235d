"""Run one simulation, from settings to a finished run directory."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

from ..app.config import RunConfig
from ..app.run_directory_lock import LockedDirectory, lock_for_command
from ..atomic_files import DiskError, explain_disk_errors
from ..cpus import usable_cpus
from ..nodes.client_folder import CACHE_VARIABLE, is_named, remove_run
from ..runs.directory import RunDirectory
from ..runs.log import LOG
from ..runs.provenance import of_this_process
from ..runs.trackers import require
from .app_directory import write_app
from .federation import INLINE, Federation
from .inline import run_in_this_process
from .inline_process import run_in_a_process
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
    """Run one simulation, on a new SuperLink or inline.

    Parameters
    ----------
    config, federation : RunConfig, Federation
        The run, and its clients and resources.
    watcher : Watcher, optional
        Receives the run's progress.
    stop : Event, optional
        Set by another thread to end everything and raise ``KeyboardInterrupt``. With it an inline
        run gets a process.

    Returns
    -------
    tuple
        The run's summary, with the path of the log as ``log`` if the run did not complete, and the
        run's directory. The log is ``run.log`` in it.

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
    with lock_for_command(config) as locked:
        config = replace(
            config, run_name=locked.path.name, virtual_clients=federation.virtual_clients
        )
        run = _inline if federation.engine == INLINE else _simulate
        return run(config, federation, locked, watcher or Watcher(), stop), locked.path


@contextmanager
def clients_folder(path: Path, federation: Federation) -> Iterator[Mapping[str, str]]:
    """Create a folder of the run for the clients' state; yield the variable with its path.

    The state of a thousand clients takes gigabytes, so it is removed with the run; in a folder
    configured by the user, only the run's part. The machines of a cluster may share no folder.
    """
    if is_named() or federation.ray_address:
        yield {}
        return
    folder = path / "client-state"
    shutil.rmtree(folder, ignore_errors=True)  # left by a killed run
    try:
        yield {CACHE_VARIABLE: str(folder)}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _inline(
    config: RunConfig,
    federation: Federation,
    locked: LockedDirectory,
    watcher: Watcher,
    stop: Event | None,
) -> dict[str, Any]:
    """Run in this process; in another one if a thread may stop the run."""
    path = locked.path
    with _begun(config, federation, path) as (run, log, folder):
        environment = {**locked.environment, **folder}
        watcher.stage("ServerApp")
        if stop is None:
            summary = run_in_this_process(config, federation, path, environment, watcher)
        else:
            summary = run_in_a_process(
                config, federation, path, environment, watcher, log=log, stop=stop
            )
        return _with_log(run, summary, log)


def _simulate(
    config: RunConfig,
    federation: Federation,
    locked: LockedDirectory,
    watcher: Watcher,
    stop: Event | None,
) -> dict[str, Any]:
    path = locked.path
    parent = temporary_directory()
    with (
        tempfile.TemporaryDirectory(prefix="fsl-sage-", dir=parent) as name,
        _begun(config, federation, path) as (run, log, folder),
        ExitStack() as when_all_have_ended,
    ):
        directory = Path(name)
        app = write_app(directory)
        run_config = directory / "run-config.toml"
        run_config.write_text(as_toml(config.to_run_config()), encoding="utf-8")
        watcher.stage("SuperLink")
        with SuperLink(
            directory,
            app,
            log,
            federation.cpus_per_client,
            federation.cpus or usable_cpus(),
            federation.visible_gpus,
            federation.ray_address,
            {**locked.environment, **folder, RAY_DIRECTORY: parent},
        ) as superlink:
            watcher.stage("Ray and ServerApp")
            run_id = superlink.run(app, run_config, federation.options_for_flower())
            when_all_have_ended.callback(remove_run, run_id)
            summary = follow(
                path, lambda: superlink.status(run_id), watcher, stop, lambda: superlink.is_alive
            )
            if not summary["completed"]:
                superlink.keep_log_of(run_id)
        return _with_log(run, summary, log)


@contextmanager
def _begun(
    config: RunConfig, federation: Federation, path: Path
) -> Iterator[tuple[RunDirectory, Path, Mapping[str, str]]]:
    """Write a run's first files; yield its directory, its log and variables for its processes.

    An exception inside is recorded as the run's failure.
    """
    run, resumed = RunDirectory(path), bool(config.resume)
    run.begin_simulation(federation.record(), resumed=resumed)
    run.write_provenance(_provenance(federation), resumed=resumed)
    with clients_folder(path, federation) as folder, run.record_failure():
        yield run, _log_of(path, resumed=resumed), folder


def _with_log(run: RunDirectory, summary: dict[str, Any], log: Path) -> dict[str, Any]:
    """Return a run's summary, with the path of the log if the run did not complete."""
    if summary["completed"]:
        return summary
    summary = {**summary, "log": str(log)}
    with suppress(DiskError):  # the caller gets the summary in any case
        run.write_summary(summary)
    return summary


def _log_of(run: Path, *, resumed: bool) -> Path:
    """Return the file of a run's log; a resumed run appends to it.

    It is in the run's directory from the start, because a killed command cannot copy it.
    """
    log = run / LOG
    with explain_disk_errors(log):
        if not resumed:
            log.unlink(missing_ok=True)
        log.touch()
    return log


def _provenance(federation: Federation) -> dict[str, str | int]:
    """Return the provenance of this process, the engine, and the Ray cluster if there is one."""
    cluster = federation.ray_address
    return {
        **of_this_process(),
        "engine": federation.engine,
        **({} if cluster is None else {"ray_address": cluster}),
    }

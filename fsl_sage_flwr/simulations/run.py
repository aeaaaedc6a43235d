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
        The run, and its clients and resources.
    watcher : Watcher, optional
        Receives the run's progress.
    stop : Event, optional
        Set by another thread to end everything and raise ``KeyboardInterrupt``.

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
        return _simulate(config, federation, locked, watcher or Watcher(), stop), locked.path


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


def _simulate(
    config: RunConfig,
    federation: Federation,
    locked: LockedDirectory,
    watcher: Watcher,
    stop: Event | None,
) -> dict[str, Any]:
    path = locked.path
    run = RunDirectory(path)
    parent = temporary_directory()
    run.begin_simulation(federation.record(), resumed=bool(config.resume))
    run.write_provenance(_provenance(federation), resumed=bool(config.resume))
    with (
        tempfile.TemporaryDirectory(prefix="fsl-sage-", dir=parent) as name,
        clients_folder(path, federation) as folder,
        run.record_failure(),
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
        if not summary["completed"]:
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
    """Return the provenance of this process, and the Ray cluster if there is one."""
    cluster = federation.ray_address
    return {**of_this_process(), **({} if cluster is None else {"ray_address": cluster})}

"""One simulation, from settings to a finished run directory."""

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

from ..app.claim import Claim, claim_for_command
from ..app.config import RunConfig
from ..app.provenance import of_this_process
from ..app.results import RunDirectory
from ..app.trackers import require
from ..client_apps.client_folder import CACHE_VARIABLE, is_named, remove_run
from ..whole_files import DiskError
from .app_directory import write_app
from .federation import Federation
from .progress import Watcher, follow
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
        complete, and the run's directory.

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
    run.begin_simulation(federation.record(), resumed=bool(config.resume))
    run.write_provenance(_provenance(federation), resumed=bool(config.resume))
    with (
        tempfile.TemporaryDirectory(prefix="fsl-sage-") as name,
        clients_folder(path, federation) as folder,
        run.reporting_failure(),
        ExitStack() as when_all_have_ended,
    ):
        directory = Path(name)
        app = write_app(directory)
        run_config = directory / "run-config.toml"
        values = config.to_run_config().items()
        run_config.write_text("".join(f"{k} = {json.dumps(v)}\n" for k, v in values))
        watcher.stage("SuperLink")
        with SuperLink(
            directory,
            app,
            federation.cpus_per_client,
            federation.visible_gpus,
            federation.ray_address,
            {**claim.environment, **folder},
        ) as superlink:
            watcher.stage("Ray and ServerApp")
            run_id = superlink.run(app, run_config, federation.options_for_flower())
            when_all_have_ended.callback(remove_run, run_id)
            summary = follow(
                path, lambda: superlink.status(run_id), watcher, stop, lambda: superlink.is_alive
            )
        if not summary["completed"]:
            summary = {**summary, "log": str(_kept_log(superlink.log, path))}
            with suppress(DiskError):  # it is what the caller gets, in any case
                run.write_summary(summary)
    return summary


def _kept_log(log: Path, run: Path) -> Path:
    """Copy a log to a run's directory, or to a temporary one if the run's cannot be written."""
    kept = run / "superlink.log"
    try:
        shutil.copyfile(log, kept)
    except OSError:
        kept = Path(tempfile.mkdtemp(prefix="fsl-sage-log-")) / log.name
        shutil.copyfile(log, kept)
    return kept


def _provenance(federation: Federation) -> dict[str, str | int]:
    """Return this process's, and the Ray cluster that its machine is only the server of."""
    cluster = federation.ray_address
    return {**of_this_process(), **({} if cluster is None else {"ray_address": cluster})}

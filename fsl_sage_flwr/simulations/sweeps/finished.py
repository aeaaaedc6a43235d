"""Find the runs that are already completed, and those that were interrupted."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...app.assembly import identify_data
from ...app.checkpoint import CheckpointError, UnreadableError
from ...app.config import ConfigError, RunConfig, with_new_names
from ...app.results import RunDirectory
from ...app.resume import checkpoint_for
from ...app.run_path import run_path
from ...data import DatasetError
from .combinations import Combination, identity


def finished_runs(results: Path, clients: int) -> dict[str, Path]:
    """Return the completed simulations under a directory, by their identity.

    Parameters
    ----------
    results : Path
        Directory of results; it need not exist.
    clients : int
        Only simulations with this number of virtual clients are returned.

    Returns
    -------
    dict
        Maps the run's :func:`identity` to its directory.
    """
    runs = {}
    for file in sorted(results.rglob("federation.json")):
        path = file.parent
        summary = _read(RunDirectory.summary_of(path))
        recorded_clients = _read(file).get("num-supernodes")
        if summary.get("completed") and recorded_clients == clients:
            written = _read(RunDirectory.config_of(path))
            try:
                found = dict.fromkeys(RunDirectory.keys_found_in_data(path), "")
                config = RunConfig.from_run_config(with_new_names(written | found))
            except ConfigError:  # from another version, or with an algorithm registered elsewhere
                continue
            runs[identity(config)] = path
    return runs


def going_on(run: Combination, clients: int) -> Combination:
    """Return a run that goes on from the checkpoint of its interrupted self, if there is one.

    Raises
    ------
    ConfigError
        The disk does not deliver that checkpoint. To begin again would delete what was trained.
    """
    path = run_path(run.config)
    checkpoint = RunDirectory.checkpoint_of(path)
    if _read(RunDirectory.federation_of(path)).get("num-supernodes") != clients:
        return run
    try:
        checkpoint_for(run.config, checkpoint, identify_data(run.config, download=False))
    except UnreadableError as error:
        raise ConfigError(f"{error}; look at the disk, or remove {path} to begin again") from error
    except (CheckpointError, DatasetError):  # one that cannot be used is not written over
        return run
    return replace(run, config=replace(run.config, resume=str(checkpoint)))


def _read(path: Path) -> dict[str, Any]:
    """Return what a JSON file has; empty if there is none, or a file that no run of ours wrote."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}

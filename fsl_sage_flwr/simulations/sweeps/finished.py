"""Find completed and interrupted runs."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...app.assembly import identify_data
from ...app.config import ConfigError, RunConfig, with_new_names
from ...app.resume import checkpoint_for
from ...app.run_path import run_path
from ...data import DatasetError
from ...runs.checkpoint import CheckpointError, UnreadableError
from ...runs.directory import RunDirectory
from ...runs.find_runs import runs_under
from .combinations import Combination, identity


def finished_runs(results: Path, clients: int) -> dict[str, Path]:
    """Return the completed simulations under a directory, by their identity.

    Parameters
    ----------
    results : Path
        Directory of results, which may not exist.
    clients : int
        Number of virtual clients of the simulations to return.

    Returns
    -------
    dict
        Maps the run's :func:`identity` to its directory.
    """
    runs = {}
    for path in runs_under(results):
        summary = _read(RunDirectory.summary_of(path))
        recorded_clients = _read(RunDirectory.federation_of(path)).get("num-supernodes")
        if summary.get("completed") and recorded_clients == clients:
            written = _read(RunDirectory.config_of(path))
            try:
                found = dict.fromkeys(RunDirectory.keys_found_in_data(path), "")
                config = RunConfig.from_run_config(with_new_names(written | found))
            except ConfigError:  # of another version, or with names registered elsewhere
                continue
            runs[identity(config)] = path
    return runs


def resume_interrupted(run: Combination, clients: int) -> Combination:
    """Return a run that resumes from the checkpoint of its interrupted predecessor, if any.

    Raises
    ------
    ConfigError
        The disk fails to read the checkpoint; starting anew would delete it.
    """
    path = run_path(run.config)
    checkpoint = RunDirectory.checkpoint_of(path)
    if _read(RunDirectory.federation_of(path)).get("num-supernodes") != clients:
        return run
    try:
        checkpoint_for(run.config, checkpoint, identify_data(run.config, download=False))
    except UnreadableError as error:
        raise ConfigError(f"{error}; check the disk, or remove {path} to begin again") from error
    except (CheckpointError, DatasetError):  # an unusable checkpoint is not overwritten
        return run
    return replace(run, config=replace(run.config, resume=str(checkpoint)))


def _read(path: Path) -> dict[str, Any]:
    """Return the content of a JSON file; empty if it is missing or not one of ours."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}

"""Find the runs that are already completed."""

import json
from pathlib import Path
from typing import Any

from ...app.config import ConfigError, RunConfig
from ...app.results import RunDirectory
from .combinations import identity


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
    found = {}
    for file in sorted(results.rglob("federation.json")):
        path = file.parent
        summary = _read(RunDirectory.summary_of(path))
        recorded_clients = _read(file).get("num-supernodes")
        if summary.get("completed") and recorded_clients == clients:
            try:
                config = RunConfig.from_run_config(_read(RunDirectory.config_of(path)))
            except ConfigError:  # from another version, or with an algorithm registered elsewhere
                continue
            found[identity(config)] = path
    return found


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.is_file() else {}

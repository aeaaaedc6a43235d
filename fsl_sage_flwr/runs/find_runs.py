"""Recognise the directories of runs."""

import os
from collections.abc import Collection
from pathlib import Path

from .directory import RunDirectory

_OF = Path()
MARKER = RunDirectory.marker_of(_OF).name
# Runs of earlier versions have no marker, but one file of each of these kinds.
_SETTINGS = {RunDirectory.config_of(_OF).name, RunDirectory.federation_of(_OF).name}
_RESULTS = {RunDirectory.history_of(_OF).name, RunDirectory.summary_of(_OF).name}


def is_run(path: Path) -> bool:
    """Return whether a directory is a run's; its files may be incomplete or broken."""
    return path.is_dir() and _are_of_a_run(os.listdir(path))


def runs_under(directory: Path) -> list[Path]:
    """Return the directories of all runs under a directory, and itself if it is one, sorted."""
    return sorted(Path(path) for path, _, names in os.walk(directory) if _are_of_a_run(names))


def _are_of_a_run(names: Collection[str]) -> bool:
    return MARKER in names or not (_SETTINGS.isdisjoint(names) or _RESULTS.isdisjoint(names))

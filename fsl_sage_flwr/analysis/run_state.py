"""Find out whether a run is active, and when its files last changed."""

import json
import socket
import time
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import psutil

from ..runs.directory import STOPPED, RunDirectory
from ..runs.lock import COMMAND, TRAINING, holder_file
from .load_results import Run

State = Literal["running", "completed", "failed", "interrupted", "lost"]

# Seconds by which a process's start may lie after its lock file's time: the file has whole seconds,
# and the system's clock may have been set.
CLOCKS_DIFFER_BY = 5.0
LOST_AT_LEAST_AFTER = 3600.0
# "stopped" is the status of earlier versions.
_BY_THE_USER = (STOPPED, "stopped", "KeyboardInterrupt", "OutputClosedError", "SystemExit")
_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def state_of(run: Run) -> State:
    """Return the state of a run.

    Returns
    -------
    str
        ``completed``; ``failed``: ended by the error in ``run.status``; ``interrupted``: stopped or
        killed, or the machine went down; ``lost``: on an unreachable machine, without a written
        file for :func:`lost_after` seconds; ``running``.
    """
    if run.completed:
        return "completed"
    if not run.summary:
        return "interrupted"
    if run.status != "running":
        return "interrupted" if run.status.startswith(_BY_THE_USER) else "failed"
    holders = [_read(holder_file(run.path, role)) for role in (COMMAND, TRAINING)]
    known = [holder for holder in holders if holder]
    if known and any(_is_alive(holder) for holder in known):
        return "running"
    if known and all(_is_here(holder) for holder in known):
        return "interrupted"
    return "lost" if time.time() - last_change(run) > lost_after(run) else "running"


def lost_after(run: Run) -> float:
    """Return the seconds without a written file after which a run elsewhere counts as lost.

    A round writes one after training and evaluation, each at most ``round-timeout``, and the
    server's own work: three times ``round-timeout``, and at least an hour.
    """
    timeout = run.config.get("round-timeout", 3600.0)
    return max(LOST_AT_LEAST_AFTER, 3 * float(timeout))


def last_change(run: Run) -> float:
    """Return the time of the last write of history, summary or configuration (Unix time)."""
    path = run.path
    files = (RunDirectory.history_of(path), RunDirectory.summary_of(path),
             RunDirectory.config_of(path))  # fmt: skip
    return max(file.stat().st_mtime for file in files if file.is_file())


def age_text(seconds: float) -> str:
    """Return a time span as short text, rounded down to its largest unit: ``3 min``."""
    for size, name in _UNITS:
        if seconds >= size:
            return f"{int(seconds // size)} {name}"
    return "0 s"


def age_of(run: Run) -> str:
    """Return the time since a run's files last changed, as text."""
    return age_text(max(0.0, time.time() - last_change(run)))


def _is_here(holder: dict[str, Any]) -> bool:
    return holder.get("host") == socket.gethostname()


def _is_alive(holder: dict[str, Any]) -> bool:
    """Return whether the process of a lock file is alive on this machine."""
    if not _is_here(holder):
        return False
    try:
        began = psutil.Process(int(holder["process"])).create_time()
        since = datetime.fromisoformat(str(holder["since"])).timestamp()
    except psutil.NoSuchProcess:
        return False
    except (KeyError, ValueError, psutil.AccessDenied):
        return True
    # A process that started later only has the same number.
    return began <= since + CLOCKS_DIFFER_BY


def _read(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError):  # not there, or being written
        return {}

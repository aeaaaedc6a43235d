"""Lock a run's directory, so that one run at a time uses it.

filelock's locks are the operating system's, which a dying process releases. On a file system
without locks (NFS without its lock daemon) filelock's marker files replace them; one that a killed
process leaves is taken over on its machine, and on another machine must be deleted.

``fsl-sage run`` holds ``command`` until everything that it started has ended. The training process
holds ``training``, and also ``command`` if no command started it (``flwr run``, a custom
ServerApp). Both locks are needed: a ServerApp may outlive its killed command.
"""

import errno
import json
import os
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, SoftFileLock, Timeout

from .provenance import CLAIM

FOLDER = ".locks"
COMMAND, TRAINING = "command", "training"
# Seconds. Checking the locks normally takes a moment.
CHECK_TIMEOUT = 60.0
# Suffix of filelock's marker files, and errors of a file system without locks.
_MARKER = ".held"
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


class DirectoryInUseError(Exception):
    """The directory is locked by another run."""


@contextmanager
def command_lock(path: Path, token: str) -> Iterator[None]:
    """Lock a run's directory while a ServerApp starts, trains in it and ends.

    Parameters
    ----------
    path : Path
        The run's existing directory.
    token : str
        Identifies the command to its ServerApp, through the environment variable ``CLAIM``.

    Raises
    ------
    DirectoryInUseError
        Another run has locked the directory.
    """
    with ExitStack() as held:
        with _checking(path):
            held.enter_context(_take(path, COMMAND, token))
            # The ServerApp of a killed command may still hold this lock.
            with _lock(path, TRAINING):
                pass
        yield


@contextmanager
def training_lock(path: Path) -> Iterator[None]:
    """Lock a run's directory while this process trains in it.

    Raises
    ------
    DirectoryInUseError
        As :func:`command_lock`, except that the command that started this process is no other
        run.
    """
    with ExitStack() as held:
        with _checking(path):
            if not _is_held_by_our_command(path):
                held.enter_context(_take(path, COMMAND))
            held.enter_context(_take(path, TRAINING))
        yield


def training_started_file(path: Path) -> Path:
    """Return the file written at the start of training in a run's directory."""
    return holder_file(path, TRAINING)


def holder_file(path: Path, role: str) -> Path:
    """Return the file with the current or last holder of a lock."""
    return path / FOLDER / f"{role}.json"


@contextmanager
def _checking(path: Path) -> Iterator[None]:
    """Prevent other processes from checking or taking locks at the same time.

    Taking a lock and writing its holder are two steps. A process that finds a lock taken reports
    the holder, so it must not see the state between them.
    """
    (path / FOLDER).mkdir(exist_ok=True)
    try:
        looking = _acquired(path, "looking", CHECK_TIMEOUT)
    except Timeout as error:
        raise DirectoryInUseError(
            f"{path / FOLDER} has been locked for {CHECK_TIMEOUT:g} s; perhaps a process that "
            f"uses it is suspended: end it{_marker_advice(error.lock_file)}"
        ) from error
    with looking:
        yield


def _lock(path: Path, role: str) -> AbstractContextManager[object]:
    """Take a lock that must be free; leaving the returned context releases it."""
    try:
        return _acquired(path, role, 0)
    except Timeout as error:
        holder, file = _holder(path, role), error.lock_file
    raise DirectoryInUseError(
        f"another run is active in {path}: process {holder.get('process')} on "
        f"{holder.get('host')}, since {holder.get('since')}; wait for its end"
        f"{_marker_advice(file)}"
    )


def _acquired(path: Path, role: str, timeout: float) -> AbstractContextManager[object]:
    """Take a lock; leaving the returned context releases it.

    Raises
    ------
    Timeout
        Another process holds the lock.
    """
    folder = path / FOLDER
    try:
        lock = FileLock(folder / f"{role}.lock", fallback_to_soft=False)
        return lock.acquire(timeout=timeout)
    except OSError as error:  # Timeout has no errno
        if error.errno not in _NO_LOCKS:
            raise
    # filelock's fallback knows ENOSYS alone, and warns on standard error.
    marker = SoftFileLock(folder / f"{role}{_MARKER}")
    with suppress(Timeout):  # deletes a dead process's marker, and does not take it yet
        return marker.acquire(timeout=0)
    return marker.acquire(timeout=timeout)


def _marker_advice(lock: str) -> str:
    """Return the advice for a marker file that a killed process may have left."""
    return f", or delete {lock} if that process was killed" if lock.endswith(_MARKER) else ""


def _take(path: Path, role: str, token: str = "") -> AbstractContextManager[object]:
    """Take a lock, and write its holder to a file."""
    lock = _lock(path, role)
    holder = {
        "process": os.getpid(),
        "host": socket.gethostname(),
        "since": datetime.now().astimezone().isoformat(timespec="seconds"),
        "token": token,
    }
    holder_file(path, role).write_text(json.dumps(holder) + "\n", encoding="utf-8")
    return lock


def _is_held_by_our_command(path: Path) -> bool:
    token = os.environ.get(CLAIM)
    return bool(token) and _holder(path, COMMAND).get("token") == token


def _holder(path: Path, role: str) -> dict[str, Any]:
    try:
        return dict(json.loads(holder_file(path, role).read_text(encoding="utf-8")))
    except (FileNotFoundError, json.JSONDecodeError):  # killed while writing: it has no lock
        return {}

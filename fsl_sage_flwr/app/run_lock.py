"""The locks of a run's directory: one run at a time, and who holds it.

There are two locks. They belong to the operating system, so a process that dies releases its
locks. On a file system that has no locks (NFS without its lock daemon) a file stands for each,
which a process that is killed leaves there.

The process of ``fsl-sage run`` holds ``command`` from before it starts anything until everything
has ended. The process that trains holds ``training``, and also ``command`` if no command started
it (``flwr run``, somebody's own ServerApp). Both locks are needed: if the command is killed, its
ServerApp may continue.
"""

import errno
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, SoftFileLock, Timeout

from .provenance import CLAIM

FOLDER = ".locks"
COMMAND, TRAINING = "command", "training"
# Seconds. A process normally needs only a moment to check the locks.
LOOK_AT_MOST = 60.0
# The file that stands for a lock where a file system has none, and what such a one answers.
_FILE = ".held"
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


class DirectoryInUseError(Exception):
    """Another run is at work in the directory."""


@contextmanager
def held_for_command(path: Path, token: str) -> Iterator[None]:
    """Hold a run's directory while a ServerApp is started, trains there and ends.

    Parameters
    ----------
    path : Path
        The run's directory, which exists.
    token : str
        Tells the ServerApp, by the environment variable ``CLAIM``, that its command is the holder.

    Raises
    ------
    DirectoryInUseError
        Another run is at work there.
    """
    with ExitStack() as held:
        with _looking(path):
            held.enter_context(_take(path, COMMAND, token))
            # The ServerApp of a killed command may still hold this lock.
            with _lock(path, TRAINING):
                pass
        yield


@contextmanager
def held_for_training(path: Path) -> Iterator[None]:
    """Hold a run's directory while this process trains there.

    Raises
    ------
    DirectoryInUseError
        As :func:`held_for_command`, but the command that started this process does not count
        as another run.
    """
    with ExitStack() as held:
        with _looking(path):
            if not _is_held_by_our_command(path):
                held.enter_context(_take(path, COMMAND))
            held.enter_context(_take(path, TRAINING))
        yield


def claimed_by_training(path: Path) -> Path:
    """Return the file that a process writes as it begins to train in a run's directory."""
    return holder_file(path, TRAINING)


def holder_file(path: Path, role: str) -> Path:
    """Return the file that names who holds a lock, or who held it last."""
    return path / FOLDER / f"{role}.json"


@contextmanager
def _looking(path: Path) -> Iterator[None]:
    """Prevent other processes from checking or taking locks at the same time.

    Taking a lock and writing the holder's name are two separate steps. A process that finds a
    lock taken reports the holder, so it must not see the state between these steps.
    """
    (path / FOLDER).mkdir(exist_ok=True)
    try:
        looking = _acquired(path, "looking", LOOK_AT_MOST)
    except Timeout as error:
        raise DirectoryInUseError(
            f"{path / FOLDER} has been locked for {LOOK_AT_MOST:g} s; perhaps a process that "
            f"uses it is suspended: end it{_if_it_is_a_file(error.lock_file)}"
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
        f"another run is at work in {path}: process {holder.get('process')} on "
        f"{holder.get('host')}, since {holder.get('since')}; wait for its end"
        f"{_if_it_is_a_file(file)}"
    )


def _acquired(path: Path, role: str, timeout: float) -> AbstractContextManager[object]:
    """Take a lock; leaving the returned context releases it.

    Raises
    ------
    Timeout
        Another process holds it.
    """
    folder = path / FOLDER
    if _has_locks(folder):
        return FileLock(folder / f"{role}.lock").acquire(timeout=timeout)
    return SoftFileLock(folder / f"{role}{_FILE}").acquire(timeout=timeout)


def _has_locks(folder: Path) -> bool:
    """Ask the file system: versions of filelock differ in what they make of such an answer."""
    with (folder / "trial.lock").open("wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            return error.errno not in _NO_LOCKS
    return True


def _if_it_is_a_file(lock: str) -> str:
    """Return what to do about a file that a killed process has left."""
    return f", or delete {lock} if that process was killed" if lock.endswith(_FILE) else ""


def _take(path: Path, role: str, token: str = "") -> AbstractContextManager[object]:
    """Take a lock, and write down who holds it."""
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
    except (FileNotFoundError, json.JSONDecodeError):  # killed while writing: it holds no lock
        return {}

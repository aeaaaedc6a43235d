"""Allow only one run at a time in a run's directory.

There are two locks. They belong to the operating system, so a process that dies releases its
locks. The process of ``fsl-sage run`` holds ``command`` from before it starts anything until
everything has ended. The ServerApp holds ``training``, and also ``command`` if no command started
it (``flwr run``). Both locks are needed: if the command is killed, its ServerApp may continue.
"""

import json
import os
import socket
import uuid
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from .config import ConfigError, RunConfig
from .provenance import CLAIM
from .run_path import refuse_completed, run_path

FOLDER = ".locks"
COMMAND, TRAINING = "command", "training"
# Seconds. A process normally needs only a moment to check the locks.
LOOK_AT_MOST = 60.0


@dataclass(frozen=True)
class Claim:
    """A run directory that this process holds.

    Attributes
    ----------
    path : Path
        The directory; it exists.
    environment : Mapping
        Environment variables that a ServerApp needs in order to train there.
    """

    path: Path
    environment: Mapping[str, str]


@contextmanager
def claim_for_command(config: RunConfig) -> Iterator[Claim]:
    """Hold a run's directory while a ServerApp is started, trains there and ends.

    Without ``run-name`` a new directory is made.

    Raises
    ------
    ConfigError
        Another run is active or completed in the directory, or the directory cannot be made.
    """
    path, token = _directory(config), uuid.uuid4().hex
    with ExitStack() as held:
        with _looking(path):
            held.enter_context(_take(path, COMMAND, token))
            # The ServerApp of a killed command may still hold this lock.
            with _lock(path, TRAINING):
                pass
        refuse_completed(replace(config, run_name=path.name))
        yield Claim(path, {CLAIM: token})


@contextmanager
def claim_for_training(config: RunConfig) -> Iterator[Path]:
    """Hold a run's directory while this process trains there; yield its path.

    Raises
    ------
    ConfigError
        As :func:`claim_for_command`, but the command that started this process does not count
        as another run.
    """
    path = _directory(config)
    with ExitStack() as held:
        with _looking(path):
            if not _is_held_by_our_command(path):
                held.enter_context(_take(path, COMMAND))
            held.enter_context(_take(path, TRAINING))
        refuse_completed(replace(config, run_name=path.name))
        yield path


def _directory(config: RunConfig) -> Path:
    """Make the run's directory; without a run name, make a new one."""
    if config.run_name:
        refuse_completed(config)  # before locks are put into the directory
    path = run_path(config)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if config.run_name:
            path.mkdir(exist_ok=True)
        else:
            path = next(new for new in _numbered(path) if _is_made(new))
        (path / FOLDER).mkdir(exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"results-dir = {config.results_dir!r}: {path} cannot be made ({error.strerror}); "
            "name a directory that can be written to"
        ) from error
    return path


def _numbered(path: Path) -> Iterator[Path]:
    """Yield names that sort in order: the second run within a second gets the suffix -02."""
    yield path
    yield from (path.with_name(f"{path.name}-{number:02}") for number in count(2))


def _is_made(path: Path) -> bool:
    try:
        path.mkdir()
    except FileExistsError:
        return False
    return True


@contextmanager
def _looking(path: Path) -> Iterator[None]:
    """Prevent other processes from checking or taking locks at the same time.

    Taking a lock and writing the holder's name are two separate steps. A process that finds a
    lock taken reports the holder, so it must not see the state between these steps.
    """
    try:
        looking = FileLock(path / FOLDER / "looking.lock").acquire(timeout=LOOK_AT_MOST)
    except Timeout as error:
        raise ConfigError(
            f"run-name = {path.name!r}: {path / FOLDER} has been locked for {LOOK_AT_MOST:g} s; "
            "perhaps a process that uses it is suspended: end it, or choose another run-name"
        ) from error
    with looking:
        yield


def _lock(path: Path, role: str) -> AbstractContextManager[object]:
    """Take a lock that must be free; leaving the returned context releases it."""
    try:
        return FileLock(path / FOLDER / f"{role}.lock").acquire(timeout=0)
    except Timeout:
        holder = _holder(path, role)
    raise ConfigError(
        f"run-name = {path.name!r}: another run is at work in {path}: process "
        f"{holder.get('process')} on {holder.get('host')}, since {holder.get('since')}; wait for "
        "its end, or choose another run-name"
    )


def _take(path: Path, role: str, token: str = "") -> AbstractContextManager[object]:
    """Take a lock, and write down who holds it."""
    lock = _lock(path, role)
    holder = {
        "process": os.getpid(),
        "host": socket.gethostname(),
        "since": datetime.now().astimezone().isoformat(timespec="seconds"),
        "token": token,
    }
    _holder_file(path, role).write_text(json.dumps(holder) + "\n")
    return lock


def claimed_by_training(path: Path) -> Path:
    """Return the file that a ServerApp writes as it begins in a run's directory."""
    return _holder_file(path, TRAINING)


def _is_held_by_our_command(path: Path) -> bool:
    token = os.environ.get(CLAIM)
    return bool(token) and _holder(path, COMMAND).get("token") == token


def _holder(path: Path, role: str) -> dict[str, Any]:
    """Return who holds a lock, or who held it last."""
    file = _holder_file(path, role)
    try:
        return dict(json.loads(file.read_text()))
    except (FileNotFoundError, json.JSONDecodeError):  # killed while writing: it holds no lock
        return {}


def _holder_file(path: Path, role: str) -> Path:
    return path / FOLDER / f"{role}.json"

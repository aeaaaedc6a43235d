"""One run at a time in a run's directory.

Two locks, both the operating system's, so that a process that dies leaves none behind. Who runs
``fsl-sage run`` holds ``command`` from before anything starts to after everything has ended; the
ServerApp holds ``training``, and where no command started it (``flwr run``) ``command`` too. The
second is not spare: a command may be killed, and leave a ServerApp that goes on.
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
from .results import refuse_completed, run_path

FOLDER = ".locks"
COMMAND, TRAINING = "command", "training"
# By this environment variable a ServerApp knows the command that started it.
TOKEN = "FSL_SAGE_CLAIM"
# Seconds. Nobody looks for long.
LOOK_AT_MOST = 60.0


@dataclass(frozen=True)
class Claim:
    """A run directory that is this process's.

    Attributes
    ----------
    path : Path
        The directory; it is there.
    environment : Mapping
        What a ServerApp that is to train there must find in its environment.
    """

    path: Path
    environment: Mapping[str, str]


@contextmanager
def claim_for_command(config: RunConfig) -> Iterator[Claim]:
    """Hold a run's directory while a ServerApp is started, trains there and ends.

    Without ``run-name`` the directory is a new one.

    Raises
    ------
    ConfigError
        Another run is at work there, or has completed there; or it cannot be made.
    """
    path, token = _directory(config), uuid.uuid4().hex
    with ExitStack() as held:
        with _looking(path):
            held.enter_context(_take(path, COMMAND, token))
            with _lock(path, TRAINING):  # free, unless a killed command's ServerApp goes on
                pass
        refuse_completed(replace(config, run_name=path.name))
        yield Claim(path, {TOKEN: token})


@contextmanager
def claim_for_training(config: RunConfig) -> Iterator[Path]:
    """Hold a run's directory while this process trains there; give its path.

    Raises
    ------
    ConfigError
        As :func:`claim_for_command`; the command that started this process is no other run.
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
    """Make the run's directory; without a name one that was not there."""
    if config.run_name:
        refuse_completed(config)  # and leave no lock in it
    path = run_path(config)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if config.run_name:
            path.mkdir(exist_ok=True)
        else:
            path = next(new for new in _spellings(path) if _is_made(new))
        (path / FOLDER).mkdir(exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"results-dir = {config.results_dir!r}: {path} cannot be made ({error.strerror}); "
            "name a directory that can be written to"
        ) from error
    return path


def _spellings(path: Path) -> Iterator[Path]:
    """Return names that stand in order: the second in one second ends with -02."""
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
    """Be the only one that looks at the locks, or takes one: who finds one taken must find who.

    A lock and the name of its holder cannot be written at once.
    """
    try:
        looking = FileLock(path / FOLDER / "looking.lock").acquire(timeout=LOOK_AT_MOST)
    except Timeout as error:
        raise ConfigError(
            f"run-name = {path.name!r}: {path / FOLDER} has been locked for {LOOK_AT_MOST:g} s; is "
            "a process stopped there? End it, or choose another run-name"
        ) from error
    with looking:
        yield


def _lock(path: Path, role: str) -> AbstractContextManager[object]:
    """Take a lock that must be free; it is released when what is returned is left."""
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
    """Take a lock, and write down who has it."""
    lock = _lock(path, role)
    holder = {
        "process": os.getpid(),
        "host": socket.gethostname(),
        "since": datetime.now().astimezone().isoformat(timespec="seconds"),
        "token": token,
    }
    _holder_file(path, role).write_text(json.dumps(holder) + "\n")
    return lock


def _is_held_by_our_command(path: Path) -> bool:
    token = os.environ.get(TOKEN)
    return bool(token) and _holder(path, COMMAND).get("token") == token


def _holder(path: Path, role: str) -> dict[str, Any]:
    """Return who has a lock, or had it last."""
    file = _holder_file(path, role)
    try:
        return dict(json.loads(file.read_text()))
    except (FileNotFoundError, json.JSONDecodeError):  # killed as it wrote: it has no lock
        return {}


def _holder_file(path: Path, role: str) -> Path:
    return path / FOLDER / f"{role}.json"

"""Create the directory of a run, and lock it for one process."""

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from ..runs.lock import FOLDER, DirectoryInUseError, command_lock, training_lock
from ..runs.provenance import CLAIM
from .config import ConfigError, RunConfig
from .run_path import refuse_taken, run_path


@dataclass(frozen=True)
class LockedDirectory:
    """A run directory locked by this process.

    Attributes
    ----------
    path : Path
        The existing directory.
    environment : Mapping
        Environment variables for a ServerApp that trains in it.
    """

    path: Path
    environment: Mapping[str, str]


@contextmanager
def lock_for_command(config: RunConfig) -> Iterator[LockedDirectory]:
    """Lock a run's directory while a ServerApp starts, trains in it and ends.

    Without ``run-name`` a new directory is created.

    Raises
    ------
    ConfigError
        The directory is in use, holds a completed run or an unfinished one that is not resumed, or
        cannot be created.
    """
    path, token = _directory(config), uuid.uuid4().hex
    with _with_run_name(path), command_lock(path, token):
        refuse_taken(replace(config, run_name=path.name))
        yield LockedDirectory(path, {CLAIM: token})


@contextmanager
def lock_for_training(config: RunConfig) -> Iterator[Path]:
    """Lock a run's directory while this process trains in it; yield its path.

    Raises
    ------
    ConfigError
        As :func:`lock_for_command`, except that the command that started this process is no
        other run.
    """
    path = _directory(config)
    with _with_run_name(path), training_lock(path):
        refuse_taken(replace(config, run_name=path.name))
        yield path


@contextmanager
def _with_run_name(path: Path) -> Iterator[None]:
    try:
        yield
    except DirectoryInUseError as error:
        raise ConfigError(
            f"run-name = {path.name!r}: {error}, or choose another run-name"
        ) from error


def _directory(config: RunConfig) -> Path:
    """Return the run's directory, created if it is missing; without a run name, a new one."""
    if config.run_name:
        refuse_taken(config)  # before lock files are created in it
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
            f"results-dir = {config.results_dir!r}: {path} cannot be created ({error.strerror}); "
            "name a directory that can be written to"
        ) from error
    return path


def _numbered(path: Path) -> Iterator[Path]:
    """Yield names in sorting order: the second run within a second gets the suffix -02."""
    yield path
    yield from (path.with_name(f"{path.name}-{number:02}") for number in count(2))


def _is_made(path: Path) -> bool:
    try:
        path.mkdir()
    except FileExistsError:
        return False
    return True

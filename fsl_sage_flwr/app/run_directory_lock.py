"""Make the directory of a configured run, and hold it alone."""

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from .config import ConfigError, RunConfig
from .provenance import CLAIM
from .run_lock import FOLDER, DirectoryInUseError, held_for_command, held_for_training
from .run_path import refuse_taken, run_path


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
        Another run is active in the directory, or completed, or unfinished and not resumed; or
        the directory cannot be made.
    """
    path, token = _directory(config), uuid.uuid4().hex
    with _naming_the_run(path), held_for_command(path, token):
        refuse_taken(replace(config, run_name=path.name))
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
    with _naming_the_run(path), held_for_training(path):
        refuse_taken(replace(config, run_name=path.name))
        yield path


@contextmanager
def _naming_the_run(path: Path) -> Iterator[None]:
    try:
        yield
    except DirectoryInUseError as error:
        raise ConfigError(
            f"run-name = {path.name!r}: {error}, or choose another run-name"
        ) from error


def _directory(config: RunConfig) -> Path:
    """Make the run's directory; without a run name, make a new one."""
    if config.run_name:
        refuse_taken(config)  # before locks are put into the directory
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

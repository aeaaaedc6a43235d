"""Choose the directory of a run's files."""

from datetime import UTC, datetime
from pathlib import Path

from ..runs.directory import RunDirectory
from .config import ConfigError, RunConfig


def run_path(config: RunConfig) -> Path:
    """Return ``<results-dir>/<algorithm>/<model>/<dataset>-<distribution>/<run name>``.

    Raises
    ------
    ConfigError
        The model's or the dataset's name would lead to another directory.
    """
    dataset = _folder("dataset", config.dataset)
    name = config.run_name or f"{datetime.now(UTC):%Y%m%d-%H%M%S}-seed{config.seed}"
    root = Path(config.results_dir).expanduser().absolute()
    model = _folder("model", config.model)  # a language model may be a directory
    return root / config.algorithm / model / f"{dataset}-{config.distribution}" / name


def _folder(key: str, value: str) -> str:
    """Return the last part of a name or a path, as the name of a results folder."""
    name = Path(value).name
    if name in ("", "..") or "\0" in name:
        raise ConfigError(
            f"{key} = {value!r}: its last part names a folder of results; give the path of the "
            "directory itself"
        )
    return name


def results_dir_of(run: Path) -> Path:
    """Return the results directory of a run, if :func:`run_path` chose its place."""
    above = list(run.parents)
    return above[min(3, len(above) - 1)]


def refuse_taken(config: RunConfig) -> None:
    """Refuse to overwrite a completed or resumable run, unless it is resumed.

    Raises
    ------
    ConfigError
        The directory holds such a run, and ``resume`` names no file in it.
    """
    path = run_path(config)
    if config.resume and path.resolve() in Path(config.resume).expanduser().resolve().parents:
        return
    if RunDirectory.is_completed_at(path):
        raise ConfigError(
            f"run-name = {config.run_name!r}: {path} holds a completed run already; choose "
            "another name, or remove it"
        )
    checkpoint = RunDirectory.checkpoint_of(path)
    if checkpoint.is_file():
        raise ConfigError(
            f"run-name = {config.run_name!r}: {path} holds an unfinished run; give "
            f"resume={str(checkpoint)!r} to continue it, choose another name, or remove it"
        )

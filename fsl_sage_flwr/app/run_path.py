"""Where a run's files go."""

import json
from datetime import UTC, datetime
from pathlib import Path

from .config import ConfigError, RunConfig
from .results import RunDirectory


def run_path(config: RunConfig) -> Path:
    """Return ``<results-dir>/<algorithm>/<model>/<dataset>-<distribution>/<run name>``."""
    dataset = Path(config.dataset).name
    name = config.run_name or f"{datetime.now(UTC):%Y%m%d-%H%M%S}-seed{config.seed}"
    root = Path(config.results_dir).expanduser().absolute()
    model = Path(config.model).name  # a language model may be a directory
    return root / config.algorithm / model / f"{dataset}-{config.distribution}" / name


def refuse_completed(config: RunConfig) -> None:
    """Refuse to overwrite a completed run, unless a run is resumed in its directory.

    Raises
    ------
    ConfigError
        The run's directory holds a completed run.
    """
    path = run_path(config)
    summary = RunDirectory.summary_of(path)
    if not config.resume and summary.is_file() and json.loads(summary.read_text())["completed"]:
        raise ConfigError(
            f"run-name = {config.run_name!r}: {path} holds a completed run already; choose "
            "another name, or remove it"
        )

"""Check all runs of a sweep before the first one starts."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ...app.config import ConfigError
from ..federation import Federation
from ..preflight import check_run
from .combinations import Combination, identity

# Runs that differ only in these keys have the same data, paths and cut, and are checked once.
NOT_CHECKED: dict[str, Any] = {
    "seed": 0, "num_server_rounds": 1, "local_epochs": 1, "learning_rate": 1.0,
    "server_learning_rate": 1.0, "weight_decay": 0.0, "server_weight_decay": 0.0,
}  # fmt: skip


def check_runs(runs: Sequence[Combination], federation: Federation) -> None:
    """Refuse a sweep with a run that cannot work.

    Raises
    ------
    ConfigError
        A run cannot work; the message names the first one and the reason.
    """
    seen = set[str]()
    for run in runs:
        kind = identity(replace(run.config, **NOT_CHECKED))
        if kind in seen:
            continue
        seen.add(kind)
        try:
            # The checkpoint was already read completely.
            check_run(replace(run.config, resume=""), federation)
        except ConfigError as error:
            raise ConfigError(f"{run.label}: {error}") from error

"""Check all runs of a sweep before the first one starts."""

from collections.abc import Sequence
from dataclasses import replace

from ...app.config import ConfigError, RunConfig
from ..federation import Federation
from ..preflight import check_run
from .combinations import Combination, identity


def check_runs(runs: Sequence[Combination], federation: Federation) -> None:
    """Refuse a sweep with a run that cannot work.

    Raises
    ------
    ConfigError
        A run cannot work; the message names the first one and the reason.
    """
    seen = set[str]()
    for run in runs:
        kind = identity(_as_checked(run.config))
        if kind in seen:
            continue
        seen.add(kind)
        try:
            # The checkpoint was already read completely.
            check_run(replace(run.config, resume=""), federation)
        except ConfigError as error:
            raise ConfigError(f"{run.label}: {error}") from error


def _as_checked(config: RunConfig) -> RunConfig:
    """Return a configuration without what no check depends on: each data, path and cut once."""
    return replace(
        config,
        seed=0,
        num_server_rounds=1,
        local_epochs=1,
        client=replace(config.client, learning_rate=1.0, weight_decay=0.0),
        server=replace(config.server, learning_rate=1.0, weight_decay=0.0),
    )

"""Keys that were given and change nothing: refused by the command, named in a ServerApp's log."""

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from ..data import DISTRIBUTIONS
from ..registry import ALGORITHMS
from ..rounds.aggregation.aggregation import RULES
from ..strategies.common_options import AUXILIARIES
from ..task_registry import TASKS
from .config import OPTIMIZERS, ConfigError, RunConfig, all_defaults

log = logging.getLogger("flwr.fsl_sage")

# What the keys may be that decide whether others have an effect.
_CHOICES: dict[str, Collection[str]] = {
    "algorithm": ALGORITHMS, "task": TASKS, "distribution": DISTRIBUTIONS, "aggregation": RULES,
    "optimizer": OPTIMIZERS, "server-optimizer": OPTIMIZERS, "auxiliary": AUXILIARIES,
}  # fmt: skip


def refuse_idle(configs: Sequence[RunConfig], given: Iterable[str], words: Collection[str]) -> None:
    """Refuse a key that was given and changes nothing in any of the runs.

    Parameters
    ----------
    configs : sequence of RunConfig
        The runs, at least one.
    given : iterable of str
        Keys that were given, in a file or on the command line.
    words : collection of str
        Those of the command line. They may narrow a file down: with ``distribution=iid`` the
        file's own ``alpha`` has no effect, which is no mistake.

    Raises
    ------
    ConfigError
        Names the first such key, and the key that it depends on.
    """
    idle = [config.idle_keys() for config in configs]
    for key in given:
        reasons = [keys.get(key) for keys in idle]
        why = reasons[0]
        if why is None or None in reasons or (why in words and key not in words):
            continue
        where = "" if len(configs) == 1 else " in any of these runs"
        raise ConfigError(
            f"{key} changes nothing{where} with {why} = {configs[0].to_run_config()[why]}; leave "
            f"it out, or {_instead(configs[0], key, why)}"
        )


def warn_of_idle(config: RunConfig, run_config: Mapping[str, Any]) -> None:
    """Log the keys of a run configuration that differ from their defaults and change nothing.

    Flower's run configuration has every key, given or not.
    """
    defaults, values = all_defaults(), config.to_run_config()
    for key, why in config.idle_keys().items():
        if key in run_config and run_config[key] != defaults.get(key):
            log.warning(
                "%s = %s changes nothing with %s = %s", key, run_config[key], why, values[why]
            )


def _instead(config: RunConfig, key: str, why: str) -> str:
    """Return what to set instead, so that a key has an effect."""
    values = config.to_run_config()
    fits = [
        choice
        for choice in _CHOICES.get(why, ())
        if key not in RunConfig.unchecked({**values, why: choice}).idle_keys()
    ]
    return f"set {why} to {' or '.join(fits)}" if fits else f"change {why}"

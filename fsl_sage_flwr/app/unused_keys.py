"""Keys without effect: the command refuses them, a ServerApp logs them."""

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from .config import ConfigError, RunConfig, all_defaults, all_settings

log = logging.getLogger("flwr.fsl_sage")


def refuse_unused(
    configs: Sequence[RunConfig], given: Iterable[str], words: Collection[str]
) -> None:
    """Refuse a given key that has no effect in any of the runs.

    Parameters
    ----------
    configs : sequence of RunConfig
        The runs, at least one.
    given : iterable of str
        Keys of a file and of the command line.
    words : collection of str
        Keys of the command line. They may narrow a file down: with ``distribution=iid`` the
        file's ``alpha`` has no effect, which is no mistake.

    Raises
    ------
    ConfigError
        Names the first such key, and the key that it depends on.
    """
    unused = [config.unused_keys() for config in configs]
    for key in given:
        reasons = [keys.get(key) for keys in unused]
        why = reasons[0]
        if why is None or None in reasons or (why in words and key not in words):
            continue
        where = "" if len(configs) == 1 else " in any of these runs"
        raise ConfigError(
            f"{key} changes nothing{where} with {why} = {configs[0].to_run_config()[why]}; leave "
            f"it out, or {_instead(configs[0], key, why)}"
        )


def warn_of_unused(config: RunConfig, run_config: Mapping[str, Any]) -> None:
    """Log the keys of a run configuration that have no effect and differ from their defaults.

    Flower's run configuration has every key, given or not.
    """
    defaults, values = all_defaults(), config.to_run_config()
    for key, why in config.unused_keys().items():
        if key in run_config and run_config[key] != defaults.get(key):
            log.warning(
                "%s = %s changes nothing with %s = %s", key, run_config[key], why, values[why]
            )


def _instead(config: RunConfig, key: str, why: str) -> str:
    """Return the fix that gives a key an effect."""
    values = config.to_run_config()
    fits = [
        choice
        for choice in all_settings()[why].choices or ()
        if key not in RunConfig.unchecked({**values, why: choice}).unused_keys()
    ]
    return f"set {why} to {' or '.join(fits)}" if fits else f"change {why}"

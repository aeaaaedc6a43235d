"""Expand lists of settings into one configuration per run."""

import hashlib
import itertools
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...app.config import ConfigError, RunConfig, all_settings
from ...app.unused_keys import refuse_unused

OF_THE_SWEEP = {
    "run-name": "a sweep names its runs itself",
    "resume": "a sweep finds the checkpoints of its runs itself",
}
IN_THE_PATH = ("algorithm", "model", "dataset", "distribution")


@dataclass(frozen=True)
class Combination:
    """One run of a sweep.

    Attributes
    ----------
    config : RunConfig
        The configuration, with a unique run name.
    label : str
        The swept keys and their values, as readable text.
    """

    config: RunConfig
    label: str


def combinations(
    blocks: Sequence[Mapping[str, Any]], words: Collection[str] = ()
) -> list[Combination]:
    """Return every combination of every block; each run occurs once.

    Parameters
    ----------
    blocks : sequence of mapping
        Kebab-case keys of the run configuration; the values of a list are combined with those of
        all other lists in its block.
    words : collection of str
        Keys given on the command line. They may make a preset's swept key ineffective: ``alpha``
        has no effect if ``distribution=iid`` narrows a comparison down.

    Returns
    -------
    list of Combination
        In the order of the lists; the last list varies fastest. Combinations that differ only in
        keys without effect, such as another algorithm's, become one run: the first.

    Raises
    ------
    ConfigError
        A combination is invalid, or a key has no effect in any run for another reason than
        ``words``.
    """
    swept = _swept_keys(blocks)
    found: dict[str, Combination] = {}
    for block in blocks:
        lists = {key: value for key, value in block.items() if isinstance(value, list)}
        for values in itertools.product(*lists.values()):
            chosen = {**block, **dict(zip(lists, values, strict=True))}
            config = _checked(chosen)
            shown = [key for key in swept if key not in config.unused_keys()]
            found.setdefault(identity(config), _combination(config, shown))
    given = dict.fromkeys(key for block in blocks for key in block)
    refuse_unused([run.config for run in found.values()], given, words)
    return list(found.values())


def identity(config: RunConfig) -> str:
    """Return a text that is equal for configurations of the same experiment."""
    known, unused = all_settings(), config.unused_keys()
    keys = {
        key: value
        for key, value in config.to_run_config().items()
        if known[key].scope != "execution" and key not in unused
    }
    return hashlib.sha256(json.dumps(keys, sort_keys=True).encode()).hexdigest()


def _swept_keys(blocks: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the keys with several values, in a list or in different blocks."""
    keys = dict.fromkeys(key for block in blocks for key in block)
    return [key for key in keys if len({str(block.get(key)) for block in blocks}) > 1
            or any(isinstance(block.get(key), list) for block in blocks)]  # fmt: skip


def _checked(values: Mapping[str, Any]) -> RunConfig:
    for key, reason in OF_THE_SWEEP.items():
        if values.get(key):
            raise ConfigError(f"{key} = {values[key]!r}: {reason}")
    return RunConfig.from_run_config(values)


def _combination(config: RunConfig, shown: list[str]) -> Combination:
    values = config.to_run_config()
    label = " ".join(f"{key}={values[key]}" for key in shown)
    parts = [f"{key}-{values[key]}" for key in shown if key not in IN_THE_PATH]
    parts.append(identity(config)[:8])
    name = re.sub(r"[^\w.-]+", "_", "-".join(parts))[-100:].lstrip("-._")
    return Combination(replace(config, run_name=name), label or config.algorithm)

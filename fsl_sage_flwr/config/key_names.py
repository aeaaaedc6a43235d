"""Suggest the key of the run configuration that an unknown name stands for."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

# Names in other programs and in papers.
ALSO_CALLED = {
    "rounds": "num-server-rounds", "num-rounds": "num-server-rounds", "lr": "learning-rate",
    "client-lr": "learning-rate", "server-lr": "server-learning-rate", "epochs": "local-epochs",
    "num-epochs": "local-epochs", "bs": "batch-size", "q": "server-update-interval",
    "l": "align.interval", "partition": "distribution", "partitioner": "distribution",
    "cut-layer": "cut", "split-layer": "cut", "at": "cut",
    "checkpoint": "resume", "out": "results-dir", "output-dir": "results-dir",
    "name": "run-name", "arch": "model", "data": "dataset", "wd": "weight-decay",
    "fraction-fit": "fraction-train", "threshold": "max-communication-mib", "seeds": "seed",
}  # fmt: skip


def likely_key(name: str, known: Iterable[str], new_names: Mapping[str, str]) -> str | None:
    """Return the key that a name may stand for; None if no key is close.

    Parameters
    ----------
    name : str
        The name as it was given.
    known : iterable of str
        All keys.
    new_names : Mapping
        Keys of earlier versions with their new names.
    """
    keys = list(known)
    plain = name.lower().replace("_", "-")
    meant = {**ALSO_CALLED, **new_names}.get(plain, plain)
    if meant in keys:
        return meant
    first, _, last = plain.partition(".")
    for part in (last, first):  # of another program's table, or of a TOML table for a value
        if part in keys:
            return part
    # A group is easily forgotten: `noise-multiplier` is `privacy.noise-multiplier`.
    grouped = [key for key in keys if key.rpartition(".")[2] == plain]
    close = grouped or get_close_matches(plain, keys, n=1)
    return close[0] if close else None


def unknown(name: str, known: Iterable[str], new_names: Mapping[str, str]) -> str:
    """Return the line that refuses an unknown key; the arguments are those of `likely_key`."""
    keys = list(known)
    if new_names.get(name) in keys:
        return f"key {name!r} is now called {new_names[name]!r}; give that"
    close = likely_key(name, keys, new_names)
    members = [key for key in keys if key.startswith(f"{name}.")]
    if members and name not in ALSO_CALLED:
        return f"unknown key {name!r}: it is a group, whose keys are {', '.join(members)}"
    hint = f"did you mean {close!r}?" if close else f"valid are {', '.join(keys)}"
    return f"unknown key {name!r}: {hint}"


def renamed(
    config: Mapping[str, Any],
    new_names: Mapping[str, str],
    new_values: Mapping[str, Mapping[str, str]],
) -> dict[str, Any]:
    """Return a configuration of an earlier version with the names of this one.

    Parameters
    ----------
    config : Mapping
        Values by key.
    new_names : Mapping
        Keys of earlier versions with their new names.
    new_values : Mapping
        By key, the values of earlier versions with their new names.
    """
    found = {new_names.get(key, key): value for key, value in config.items()}
    for key, names in new_values.items():
        if isinstance(found.get(key), str):
            found[key] = names.get(found[key], found[key])
    return found


def flattened(table: Mapping[str, Any], group: str = "") -> dict[str, Any]:
    """Return a TOML table with its groups as Flower flattens them: ``privacy.delta``."""
    found: dict[str, Any] = {}
    for name, value in table.items():
        key = f"{group}.{name}" if group else name
        found |= flattened(value, key) if isinstance(value, dict) else {key: value}
    return found

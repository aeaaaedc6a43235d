"""Which key of the run configuration is meant by a name that is none."""

import tomllib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

# What other programs, and the paper, call it.
ALSO_CALLED = {
    "rounds": "num-server-rounds", "num-rounds": "num-server-rounds", "lr": "learning-rate",
    "client-lr": "learning-rate", "server-lr": "server-learning-rate", "epochs": "local-epochs",
    "num-epochs": "local-epochs", "bs": "batch-size", "q": "server-update-interval",
    "l": "align-interval", "partition": "distribution", "partitioner": "distribution",
    "codec": "compression", "cut-layer": "cut", "split-layer": "cut", "at": "cut",
    "checkpoint": "resume", "out": "results-dir", "output-dir": "results-dir",
    "name": "run-name", "arch": "model", "data": "dataset", "wd": "weight-decay",
    "fraction-fit": "fraction-train", "threshold": "max-communication-mib", "seeds": "seed",
}  # fmt: skip

# Keys of earlier versions, and what they are called now.
RENAMED = {"comm-threshold-mb": "max-communication-mib", "max-reply-mb": "max-reply-mib"}


def likely_key(name: str, known: Iterable[str] | None = None) -> str | None:
    """Return the key that a name may stand for; None if there is none like it.

    Parameters
    ----------
    name : str
        Name as the user wrote it.
    known : iterable of str, optional
        Existing keys; by default those of the package's own app.
    """
    keys = list(own_keys() if known is None else known)
    plain = name.lower().replace("_", "-")
    meant = (ALSO_CALLED | RENAMED).get(plain, plain)
    close = [meant] if meant in keys else get_close_matches(plain, keys, n=1)
    return close[0] if close else None


def unknown(name: str, known: Iterable[str]) -> str:
    """Return what to say of a key that is none."""
    keys = list(known)
    if RENAMED.get(name) in keys:
        return f"key {name!r} is now called {RENAMED[name]!r}; give that"
    close = likely_key(name, keys)
    hint = f"did you mean {close!r}?" if close else f"valid are {', '.join(keys)}"
    return f"unknown key {name!r}: {hint}"


def with_names_of_today(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration that an earlier version wrote, with the keys' names of today."""
    return {RENAMED.get(key, key): value for key, value in config.items()}


@cache
def own_keys() -> tuple[str, ...]:
    """Return the keys of the package's own app, from the table that Flower reads."""
    return tuple(tomllib.loads(app_table())["tool"]["flwr"]["app"]["config"])


def app_table() -> str:
    """Return the text of pyproject.toml, which a wheel has inside the package."""
    package = Path(__file__).parent
    inside = package / "simulations" / "app.toml"
    return (inside if inside.is_file() else package.parent / "pyproject.toml").read_text(
        encoding="utf-8"
    )

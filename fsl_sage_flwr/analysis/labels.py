"""Name and order algorithms and settings in tables and pictures."""

from collections.abc import Mapping
from numbers import Real
from pathlib import PurePath
from typing import Any

from .declared import algorithm_looks
from .differences import is_missing

NOTHING = "–"  # in place of a missing value


def place(algorithm: str) -> tuple[int, float, str]:
    """Return a sort key: algorithms in the order of registration, then unknown ones by name."""
    known = list(algorithm_looks())
    if algorithm in known:
        return (0, float(known.index(algorithm)), "")
    return (1, 0.0, algorithm)


def value_place(value: Any) -> tuple[int, float, str]:
    """Return a sort key for a setting's values: missing, numbers, text, ``iid``."""
    if is_missing(value):
        return (0, 0.0, "")
    if isinstance(value, Real):  # Real, because a numpy integer is not an int
        return (1, float(value), "")
    return (3 if value == "iid" else 2, 0.0, str(value))


def value_text(value: Any) -> str:
    """Return a setting's value as text; a missing one is a dash."""
    if is_missing(value):
        return NOTHING
    return f"{value:g}" if isinstance(value, float) else str(value)


def settings_text(settings: Mapping[str, Any]) -> str:
    """Return settings as short text: ``iid``, ``α = 0.1, l = 5``; missing ones are left out."""
    parts = []
    for key, value in settings.items():
        # Alpha implies the Dirichlet distribution.
        if is_missing(value) or (value == "noniid_dirichlet" and "alpha" in settings):
            continue
        if key == "distribution":
            parts.append(_DISTRIBUTIONS.get(value, str(value)))
        else:
            # The last part of a dataset's path is enough to distinguish datasets.
            short = PurePath(value).name if key == "dataset" else value_text(value)
            parts.append(f"{_SYMBOLS.get(key, key)} = {short}")
    return ", ".join(parts)


_DISTRIBUTIONS = {"shards": "label shards", "noniid_dirichlet": "Dirichlet"}
_SYMBOLS = {
    "alpha": "α",
    "align.interval": "l",
    "server-update-interval": "q",
    "num-supernodes": "clients",
}

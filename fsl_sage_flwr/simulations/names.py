"""What algorithms and settings are called in tables and pictures, and in which order."""

from collections.abc import Mapping
from numbers import Real
from pathlib import PurePath
from typing import Any

from ..registry import ALGORITHMS
from .differences import is_missing


def place(algorithm: str) -> tuple[int, float, str]:
    """Return a key that sorts algorithms as they are registered, others behind."""
    known = list(ALGORITHMS)
    if algorithm in known:
        return (0, float(known.index(algorithm)), "")
    return (1, 0.0, algorithm)


def value_place(value: Any) -> tuple[int, float, str]:
    """Return a key that sorts a setting's values: none, numbers, text; iid behind any alpha."""
    if is_missing(value):
        return (0, 0.0, "")
    if isinstance(value, Real):  # numpy's whole numbers are no int
        return (1, float(value), "")
    return (3 if value == "iid" else 2, 0.0, str(value))


def value_text(value: Any) -> str:
    """Return a setting's value as text; a missing one is a dash."""
    if is_missing(value):
        return "–"
    return f"{value:g}" if isinstance(value, float) else str(value)


def settings_text(settings: Mapping[str, Any]) -> str:
    """Return settings in a few words: ``iid``, ``α = 0.1, l = 5``; missing ones are left out."""
    parts = []
    for key, value in settings.items():
        if is_missing(value) or (key == "distribution" and value == "noniid_dirichlet"):
            continue
        if key == "distribution":
            parts.append("label shards" if value == "noniid" else str(value))
        else:
            # Of a path its last part tells two apart, and has room.
            short = PurePath(value).name if key == "dataset" else value_text(value)
            parts.append(f"{_SYMBOLS.get(key, key)} = {short}")
    return ", ".join(parts)


_SYMBOLS = {
    "alpha": "α",
    "align-interval": "l",
    "server-update-interval": "q",
    "num-supernodes": "clients",
}

"""Map functions over nested containers of tensors, such as a module's arguments and outputs.

A path leads to a leaf: the keys, positions and field names of the containers around it.
"""

import copy
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any

Path = tuple[Any, ...]


def map_leaves(value: Any, kind: type, change: Callable[[Any], Any]) -> Any:
    """Return a copy of nested containers with each leaf of type ``kind`` mapped by ``change``.

    Containers are tuples, lists, dicts and dataclasses.
    """
    return map_paths(value, kind, lambda path, leaf: change(leaf))


def map_paths(value: Any, kind: type, change: Callable[[Path, Any], Any], path: Path = ()) -> Any:
    """As :func:`map_leaves`, with the path of a leaf before it."""

    def inner(item: Any, key: Any) -> Any:
        return map_paths(item, kind, change, (*path, key))

    if isinstance(value, kind):
        return change(path, value)
    if isinstance(value, dict):  # before dataclasses: Hugging Face's outputs are both
        changed = {key: inner(item, key) for key, item in value.items()}
        return _same_dict(value, changed)
    if isinstance(value, tuple | list):
        items = [inner(item, place) for place, item in enumerate(value)]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if is_dataclass(value) and not isinstance(value, type):
        names = [entry.name for entry in fields(value) if entry.init]
        return replace(value, **{name: inner(getattr(value, name), name) for name in names})
    return value


def _same_dict(like: dict[Any, Any], changed: dict[Any, Any]) -> Any:
    """Return a dict of the type of another."""
    if type(like) is dict:
        return changed
    if is_dataclass(like):
        return type(like)(**changed)
    made = copy.copy(like)
    made.update(changed)
    return made


def leaves_of(value: Any, kind: type) -> list[Any]:
    """Return the leaves of type ``kind`` in nested containers, in order."""
    found: list[Any] = []

    def note(leaf: Any) -> Any:
        found.append(leaf)
        return leaf

    map_leaves(value, kind, note)
    return found


def leaves_by_path(value: Any, kind: type) -> dict[Path, Any]:
    """Return the leaves of type ``kind`` by their paths, in order."""
    found: dict[Path, Any] = {}

    def note(path: Path, leaf: Any) -> Any:
        found[path] = leaf
        return leaf

    map_paths(value, kind, note)
    return found

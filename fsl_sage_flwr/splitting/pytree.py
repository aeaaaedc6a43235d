"""Map functions over nested containers of tensors, such as a module's arguments and outputs."""

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any


def map_leaves(value: Any, kind: type, change: Callable[[Any], Any]) -> Any:
    """Return a copy of nested containers with each leaf of type ``kind`` mapped by ``change``.

    Containers are tuples, lists, dicts and dataclasses.
    """
    if isinstance(value, kind):
        return change(value)
    if isinstance(value, dict):  # before dataclasses: Hugging Face's outputs are both
        changed = {key: map_leaves(item, kind, change) for key, item in value.items()}
        return changed if type(value) is dict else type(value)(**changed)
    if isinstance(value, tuple | list):
        items = [map_leaves(item, kind, change) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if is_dataclass(value) and not isinstance(value, type):
        names = [entry.name for entry in fields(value) if entry.init]
        return replace(value, **{n: map_leaves(getattr(value, n), kind, change) for n in names})
    return value


def leaves_of(value: Any, kind: type) -> list[Any]:
    """Return the leaves of type ``kind`` in nested containers, in order."""
    found: list[Any] = []

    def note(leaf: Any) -> Any:
        found.append(leaf)
        return leaf

    map_leaves(value, kind, note)
    return found

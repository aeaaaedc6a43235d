"""Which submodules of a model are where, by name."""

from collections.abc import Iterable

from torch import nn


def holds_tensors(module: nn.Module) -> bool:
    """Return whether a module or one of its submodules has tensors in its ``state_dict``.

    Buffers that are not in it, such as the angles of rotary positions, are made anew on either
    side: they belong to neither.
    """
    return len(module.state_dict()) > 0


def ancestors_of(at: str) -> set[str]:
    """Return the names of the modules that contain a module; the model's name is ``""``."""
    return {at.rsplit(".", depth)[0] for depth in range(1, at.count(".") + 1)} | {""}


def outermost(names: Iterable[str]) -> list[str]:
    """Return, once each and in order, the names that are not inside another of the names."""
    known = set(names)
    return [
        name
        for name in dict.fromkeys(names)
        if not any(".".join(name.split(".")[:k]) in known for k in range(1, name.count(".") + 1))
    ]

"""Find the submodules of a model by name."""

from collections.abc import Iterable

from torch import nn


def holds_tensors(module: nn.Module) -> bool:
    """Return whether a module's ``state_dict`` has tensors.

    Non-persistent buffers, such as the angles of rotary positions, are recomputed on both sides
    and belong to neither.
    """
    return len(module.state_dict()) > 0


def ancestors_of(at: str) -> set[str]:
    """Return the names of the modules that contain a module; the model's name is ``""``."""
    return {at.rsplit(".", depth)[0] for depth in range(1, at.count(".") + 1)} | {""}


def outermost(names: Iterable[str]) -> list[str]:
    """Return the names that are not inside another of the names, without repetition, in order."""
    known = dict.fromkeys(names)
    return [
        name
        for name in known
        if not any(".".join(name.split(".")[:k]) in known for k in range(1, name.count(".") + 1))
    ]

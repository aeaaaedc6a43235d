"""Tell a simulated node from a deployed one, by how the ClientApp reached its process."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_in_this_process = ContextVar("in_this_process", default=False)


@contextmanager
def simulated_in_this_process() -> Iterator[None]:
    """Mark the nodes whose ClientApp is called inside as simulated: they share this process."""
    before = _in_this_process.set(True)
    try:
        yield
    finally:
        _in_this_process.reset(before)


class Simulated:
    """Truth value: a simulation runs this copy of the ClientApp.

    Flower's simulation loads the ClientApp in the process of the ServerApp and sends it, pickled,
    to its actors with every message; the process that sends it sets the value in the copy. A
    SuperNode imports the ClientApp, so that the value stays false: no message can set it, and a
    server cannot pass a deployed node off as a simulated one. Where server and nodes share a
    process, :func:`simulated_in_this_process` makes it true.
    """

    def __init__(self, value: bool = False) -> None:
        self._value = value

    def __bool__(self) -> bool:
        return self._value or _in_this_process.get()

    def __copy__(self) -> "Simulated":
        return self  # a copy in this process is no other process's

    def __deepcopy__(self, memo: Mapping[int, Any]) -> "Simulated":
        return self

    def __reduce__(self) -> tuple[type["Simulated"], tuple[bool]]:
        return Simulated, (True,)

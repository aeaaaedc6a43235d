"""Tell a simulated node from a deployed one, by how the ClientApp reached its process."""

from collections.abc import Mapping
from typing import Any


class Simulated:
    """Truth value: a simulation runs this copy of the ClientApp.

    Flower's simulation loads the ClientApp in the process of the ServerApp and sends it, pickled,
    to its actors with every message; the process that sends it sets the value in the copy. A
    SuperNode imports the ClientApp, so that the value stays false: no message can set it, and a
    server cannot pass a deployed node off as a simulated one.
    """

    def __init__(self, value: bool = False) -> None:
        self._value = value

    def __bool__(self) -> bool:
        return self._value

    def __copy__(self) -> "Simulated":
        return self  # a copy in this process is no other process's

    def __deepcopy__(self, memo: Mapping[int, Any]) -> "Simulated":
        return self

    def __reduce__(self) -> tuple[type["Simulated"], tuple[bool]]:
        return Simulated, (True,)

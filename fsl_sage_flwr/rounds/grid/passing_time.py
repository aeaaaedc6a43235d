"""The time that passes on a Grid: the machine's, or a virtual clock's."""

import time
from typing import Protocol, runtime_checkable

from flwr.serverapp import Grid


@runtime_checkable
class KeepsTime(Protocol):
    """A Grid with a virtual clock."""

    def now(self) -> float:
        """Return the seconds since a fixed moment."""

    def wait(self, seconds: float, until: float | None = None) -> None:
        """Let time pass up to the next event, or to ``until`` if that is earlier."""


def now_on(grid: Grid) -> float:
    """Return the seconds since a fixed moment, on a Grid's clock."""
    return grid.now() if isinstance(grid, KeepsTime) else time.monotonic()


def wait_on(grid: Grid, seconds: float, until: float | None = None) -> None:
    """Wait some seconds; on a virtual clock up to the next event, at the latest ``until``."""
    if isinstance(grid, KeepsTime):
        grid.wait(seconds, until)
    else:
        time.sleep(seconds)

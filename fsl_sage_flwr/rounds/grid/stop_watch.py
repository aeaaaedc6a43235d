"""A clock that can be stopped."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class StopWatch:
    """Measures time, without that of some blocks.

    Parameters
    ----------
    clock : callable, optional
        Returns seconds; by default the process's monotonic clock.
    """

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        self._clock, self._stood = clock or time.monotonic, 0.0

    def seconds(self) -> float:
        """Return the seconds since a fixed moment."""
        return self._clock() - self._stood

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Do not count the time of the block."""
        began = self._clock()
        try:
            yield
        finally:
            self._stood += self._clock() - began

"""Seconds, without those that do not count."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class StopWatch:
    """Measure time, and stand still while something else is done.

    Parameters
    ----------
    clock : callable, optional
        Returns seconds; by default the process's monotonic clock.
    """

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        self._clock, self._stood = clock or time.monotonic, 0.0

    def seconds(self) -> float:
        """Return the seconds since some moment that stays the same."""
        return self._clock() - self._stood

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Stand still as long as what is inside takes."""
        began = self._clock()
        try:
            yield
        finally:
            self._stood += self._clock() - began

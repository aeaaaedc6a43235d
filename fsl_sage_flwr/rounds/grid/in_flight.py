"""Limit the in-flight messages of a simulation."""

import time
from collections.abc import Callable

from ...cpus import usable_cpus

MOST = 64
# Messages times nodes that Flower's simulation polls before it waits a tenth of a second: some
# 10 µs each, of a core that clients could use. 64 messages of 1,000 nodes took 60 % of one.
LOOKED_AT = 1_000
LEAST_PER_CORE = 4
SECOND = 1.0


class InFlightLimit:
    """Limit on in-flight messages, set to the number answered in the last second.

    A simulation handles as many at a time as it has actors. Waiting messages take memory, and
    Flower's simulation polls every message for every node. Where clients answer quickly more
    must wait, or actors idle until the next poll.

    Parameters
    ----------
    clock : callable
        Returns seconds.
    cores : int, optional
        Cores that this process may use; there are about as many actors.
    most : int
        Upper bound of the limit.

    Attributes
    ----------
    limit : int
        Largest number of in-flight messages.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        cores: int | None = None,
        most: int = MOST,
    ) -> None:
        self._clock = clock
        self._cores = cores or usable_cpus()
        self._top = self._least = self.limit = self._most = most
        self._answers, self._since = 0, clock()

    def know_nodes(self, nodes: int) -> None:
        """Set the number of nodes of the federation."""
        least = min(max(LOOKED_AT // max(nodes, 1), LEAST_PER_CORE * self._cores), self._top)
        if least != self._least:
            self._least = self.limit = least

    def begin(self, most: int | None = None) -> None:
        """Start to measure, as messages are sent; ``most`` is an upper bound of the limit."""
        self._most = min(most or self._top, self._top)
        self.limit = self._bounded(self.limit)
        self._measure()

    def record_answers(self, answers: int) -> None:
        """Record a number of answers."""
        self._answers += answers
        seconds = self._clock() - self._since
        if seconds >= SECOND:
            self.limit = self._bounded(round(self._answers / seconds))
            self._measure()

    def _bounded(self, number: int) -> int:
        return min(max(number, self._least), self._most)

    def _measure(self) -> None:
        self._answers, self._since = 0, self._clock()

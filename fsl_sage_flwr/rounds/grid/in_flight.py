"""How many messages of a simulation are under way at once."""

import time
from collections.abc import Callable

from ...cpus import usable_cpus

MOST = 64
# Messages times nodes that Flower's simulation looks at before it waits a tenth of a second: some
# 10 µs each, of a core that clients could compute on. 64 messages of 1,000 nodes took 60 % of one.
LOOKED_AT = 1_000
LEAST_PER_CORE = 4
SECOND = 1.0


class InFlightLimit:
    """A limit of messages that are sent and not answered: what is answered in a second.

    A simulation works on as many at a time as it has actors. What waits takes memory, and
    Flower's simulation looks at every message for every node, over and over. Where clients answer
    quickly more must wait, or actors have nothing to do until it has looked again.

    Parameters
    ----------
    clock : callable
        Returns seconds.
    cores : int, optional
        That this process may use; there are not many more actors.

    Attributes
    ----------
    limit : int
        The most messages under way.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, cores: int | None = None
    ) -> None:
        self._clock = clock
        self._cores = cores or usable_cpus()
        self._least = self.limit = self._most = MOST
        self._answers, self._since = 0, clock()

    def know_nodes(self, nodes: int) -> None:
        """Take the number of nodes of the federation."""
        least = min(max(LOOKED_AT // max(nodes, 1), LEAST_PER_CORE * self._cores), MOST)
        if least != self._least:
            self._least = self.limit = least

    def begin(self, most: int | None = None) -> None:
        """Measure from here: messages are being sent.

        There are to be no more than ``most`` under way.
        """
        self._most = min(most or MOST, MOST)
        self.limit = self._bounded(self.limit)
        self._measure()

    def note(self, answers: int) -> None:
        """Take so many answers."""
        self._answers += answers
        seconds = self._clock() - self._since
        if seconds >= SECOND:
            self.limit = self._bounded(round(self._answers / seconds))
            self._measure()

    def _bounded(self, number: int) -> int:
        return min(max(number, self._least), self._most)

    def _measure(self) -> None:
        self._answers, self._since = 0, self._clock()

"""Watch the processes that a benchmark starts."""

import threading
from collections.abc import Callable

import psutil

PAUSE = 0.3


def all_memory(processes: list[psutil.Process]) -> int:
    """Return the memory of processes together, shared pages counted once, in bytes."""
    total = 0
    for process in processes:
        try:
            total += process.memory_full_info().pss
        except psutil.Error:  # it has ended
            continue
    return total


class ProcessWatch:
    """Look at this process's descendants from time to time; remember the highest figure.

    Parameters
    ----------
    look : callable
        From the processes to a figure.
    """

    def __init__(self, look: Callable[[list[psutil.Process]], int]) -> None:
        self.peak = 0
        self._look = look
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "ProcessWatch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        me = psutil.Process()
        while not self._stop.wait(PAUSE):
            self.peak = max(self.peak, self._look(me.children(recursive=True)))

"""Sample figures of a benchmark's processes."""

import threading
import time
from collections.abc import Callable
from typing import Self

import psutil

PAUSE = 0.3
# A look at the memory of processes with gigabytes takes a tenth of a second, and holds them up.
SHARE_OF_THE_TIME = 0.02


def all_memory(processes: list[psutil.Process]) -> int:
    """Return the total memory of some processes in bytes, with shared pages counted once."""
    total = 0
    for process in processes:
        try:
            total += process.memory_full_info().pss
        except psutil.Error:  # the process has ended
            continue
    return total


class Watch:
    """Run ``_watch`` in a thread within a ``with`` block."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        raise NotImplementedError


class ProcessWatch(Watch):
    """Measures this process's descendants repeatedly, and keeps the highest figure.

    Parameters
    ----------
    look : callable
        Returns a figure for a list of processes.
    """

    def __init__(self, look: Callable[[list[psutil.Process]], int]) -> None:
        super().__init__()
        self.peak = 0
        self._look = look

    def _watch(self) -> None:
        me, took = psutil.Process(), 0.0
        while not self._stop.wait(max(PAUSE, took / SHARE_OF_THE_TIME)):
            began = time.perf_counter()
            self.peak = max(self.peak, self._look(me.children(recursive=True)))
            took = time.perf_counter() - began

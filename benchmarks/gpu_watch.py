"""Watch how busy the first GPU is, and what it holds."""

import subprocess
import threading
from collections.abc import Callable
from statistics import mean

QUERY = ("--query-gpu=utilization.gpu,memory.used", "--format=csv,noheader,nounits")
PAUSE = 0.2


class GpuWatch:
    """Asks ``nvidia-smi`` five times a second.

    Parameters
    ----------
    counts : callable
        Whether what the GPU does now is to be counted.
    """

    def __init__(self, counts: Callable[[], bool]) -> None:
        self._counts = counts
        self._busy: list[int] = []
        self._held = 0
        self._nvidia_smi = subprocess.Popen(
            ["nvidia-smi", "--id=0", *QUERY, f"--loop-ms={PAUSE * 1000:.0f}"],
            stdout=subprocess.PIPE,
            text=True,
        )
        self._thread = threading.Thread(target=self._watch, daemon=True)

    @property
    def busy(self) -> float:
        """Share of the counted time in which the GPU computed something, 0 to 1."""
        return mean(self._busy) / 100

    @property
    def peak(self) -> int:
        """Most memory in use in the counted time, in bytes, of all its processes."""
        return self._held

    def __enter__(self) -> "GpuWatch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._nvidia_smi.terminate()
        self._nvidia_smi.wait()
        self._thread.join()

    def _watch(self) -> None:
        if self._nvidia_smi.stdout is None:
            return
        for line in self._nvidia_smi.stdout:
            if self._counts():
                busy, mebibytes = line.split(",")
                self._busy.append(int(busy))
                self._held = max(self._held, int(mebibytes) * 2**20)

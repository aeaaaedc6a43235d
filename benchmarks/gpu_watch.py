"""Sample the first GPU's utilisation and memory."""

import math
import subprocess
from collections.abc import Callable
from statistics import mean

from .watch import Watch

ASK = (
    "nvidia-smi",
    "--id=0",
    "--query-gpu=utilization.gpu,memory.used",
    "--format=csv,noheader,nounits",
)
PAUSE = 0.2


class GpuWatch(Watch):
    """Sample ``nvidia-smi`` in a thread.

    Parameters
    ----------
    counts : callable
        Whether what the GPU does now is to be counted.

    Attributes
    ----------
    looks : list of int
        How busy the GPU was in the counted time, look by look, in percent.
    peak : int
        Most memory in use in the counted time, in bytes, of all its processes.
    """

    def __init__(self, counts: Callable[[], bool]) -> None:
        super().__init__()
        self.looks: list[int] = []
        self.peak = 0
        self._counts = counts

    @property
    def busy(self) -> float:
        """Share of the counted time in which the GPU computed something, 0 to 1.

        NaN if there was none: what else was measured is not lost for that.
        """
        return mean(self.looks) / 100 if self.looks else math.nan

    def _watch(self) -> None:
        while not self._stop.wait(PAUSE):
            if self._counts():
                said = subprocess.run(ASK, check=True, capture_output=True, encoding="utf-8").stdout
                busy, mebibytes = said.split(",")
                self.looks.append(int(busy))
                self.peak = max(self.peak, int(mebibytes) * 2**20)

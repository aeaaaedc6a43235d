"""Choose each virtual client's share of a GPU."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..app.config import ConfigError, RunConfig
from ..units import mib
from .gpu_memory import GpuMemory
from .process_environment import with_utf8
from .superlink import FlowerError

# Leaves room for fragmentation and for later allocations of libraries.
MARGIN = 0.9
RAY_UNITS = 10_000  # Ray's smallest share of a GPU is 1/10,000


@dataclass(frozen=True)
class GpuShare:
    """A client's share of a GPU.

    Attributes
    ----------
    share : float
        0 to 1; 0 means no GPU.
    text : str
        One line that explains the share.
    """

    share: float
    text: str


def automatic_share(
    config: RunConfig, clients: int, gpus: Sequence[str], jobs: int = 1
) -> GpuShare:
    """Measure one client's peak, and return the share with which most clients fit.

    Without a GPU the share is 0.

    Parameters
    ----------
    config : RunConfig
        Configuration of the run.
    clients : int
        Number of clients.
    gpus : sequence of str
        Usable GPUs, as in ``CUDA_VISIBLE_DEVICES``.
    jobs : int
        Number of concurrent runs.

    Raises
    ------
    ConfigError
        No client fits in a GPU's free memory.
    FlowerError
        The measurement failed.
    """
    if config.device == "cpu":
        return GpuShare(0.0, "GPU share: 0, the clients compute on the CPU (device = cpu)")
    if not gpus or not torch.cuda.is_available():
        return GpuShare(0.0, "GPU share: 0, there is no GPU here; the clients compute on the CPU")
    return fit(_measure(config, clients, gpus), clients, jobs)


def fit(memory: GpuMemory, clients: int, jobs: int = 1) -> GpuShare:
    """Return the share with which most clients fit on every GPU.

    The server's memory and a tenth of the rest are kept free on each GPU. If fewer clients exist
    than would fit, they are spread over all GPUs of their run. If there are more runs than GPUs,
    the runs on a GPU get equal parts of its memory.

    Raises
    ------
    ConfigError
        No client fits.
    """
    gpus = len(memory.free)
    gpus_per_run, runs_per_gpu = max(1, gpus // jobs), -(-jobs // gpus)
    free = min(memory.free) / runs_per_gpu
    fitting = math.floor(MARGIN * (free - memory.server) / memory.client)
    sizes = (
        f"a client takes {mib(memory.client)} MiB, the server {mib(memory.server)} MiB, and "
        f"{mib(free)} MiB are free on a GPU"
    )
    if runs_per_gpu > 1:
        sizes += f" for each of {runs_per_gpu} runs"
    if fitting < 1:
        raise ConfigError(
            f"--gpus-per-client auto: {sizes}: not one client fits; choose a smaller batch-size, "
            "an earlier cut, precision=bf16 or fewer jobs"
        )
    units = max(1, RAY_UNITS // min(fitting, math.ceil(clients / gpus_per_run)))
    if RAY_UNITS // units > fitting:  # rounding down let more clients run than fit
        units += 1
    at_once, share = RAY_UNITS // units, units / RAY_UNITS
    return GpuShare(
        share,
        f"GPU share: {share:g}; {sizes}: {min(at_once * gpus_per_run, clients)} of {clients} "
        f"clients at a time on {gpus_per_run} GPU{'s' * (gpus_per_run > 1)}",
    )


def _measure(config: RunConfig, clients: int, gpus: Sequence[str]) -> GpuMemory:
    done = subprocess.run(
        [sys.executable, "-m", "fsl_sage_flwr.simulations.gpu_memory", str(clients)],
        input=json.dumps(config.to_run_config()), capture_output=True, encoding="utf-8",
        errors="replace", check=False,
        env=with_utf8({**os.environ, "CUDA_VISIBLE_DEVICES": ",".join(gpus)}),
    )  # fmt: skip
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise FlowerError(f"--gpus-per-client auto: the measurement failed: {last}")
    return GpuMemory(**json.loads(done.stdout.splitlines()[-1]))

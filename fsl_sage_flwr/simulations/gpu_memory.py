"""Measure what one client, and the server, take of a GPU.

    python -m fsl_sage_flwr.simulations.gpu_memory CLIENTS < config.json

Run in a process of its own, which gives everything back when it ends; prints the figures of
:class:`GpuMemory` as JSON. The algorithm's own strategy and handlers do a rehearsal, once with
one client and once with two: what the second adds is what the server holds for each client.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from flwr.app import Message

from ..app.assembly import EVALUATION_BATCH, build_task
from ..app.config import RunConfig
from ..client_apps import build_client_app
from ..client_apps.task_cache import forget_tasks
from ..splitting import as_tensors
from ..task import Batch, SplitTask
from .rehearsal import rehearse


@dataclass(frozen=True)
class GpuMemory:
    """Memory in bytes.

    Attributes
    ----------
    client : int
        Peak of a process in which one client trains for a round.
    server : int
        Peak of the server's process.
    free : list of int
        Of each GPU that can be seen, before anything of ours was on it.
    """

    client: int
    server: int
    free: list[int]


@dataclass
class Peaks:
    """Largest allocations on a device, in bytes, of the clients' work and of all the rest.

    Attributes
    ----------
    device : int
        The GPU.
    client : int
        Of a client at work: what it has allocated beside what was there before.
    rest : int
        Between the clients' work.
    """

    device: int
    client: int = 0
    rest: int = 0

    def around(self, work: Callable[[], Message]) -> Message:
        """Do a client's work, and note its peak."""
        self.note_rest()
        before = torch.cuda.memory_allocated(self.device)
        reply = work()
        self.client = max(self.client, torch.cuda.max_memory_allocated(self.device) - before)
        torch.cuda.reset_peak_memory_stats(self.device)
        return reply

    def note_rest(self) -> None:
        """Note the peak since a client was last at work."""
        self.rest = max(self.rest, torch.cuda.max_memory_allocated(self.device))
        torch.cuda.reset_peak_memory_stats(self.device)


def measure(config: RunConfig, clients: int) -> GpuMemory:
    """Measure on the GPU that the configuration names."""
    devices = range(torch.cuda.device_count())
    free = [torch.cuda.mem_get_info(device)[0] for device in devices]
    here = config.torch_device().index or 0
    # What is not torch's: the CUDA context and its libraries.
    torch.zeros(1, device=config.torch_device())
    outside = max(0, free[here] - torch.cuda.mem_get_info(here)[0])
    one = _peaks(config, 1, clients, here)
    two = _peaks(config, min(2, clients), clients, here) if clients > 1 else one
    server = one.rest + (clients - 1) * max(0, two.rest - one.rest)
    # torch holds more than is allocated: blocks that are split, and kept.
    held = torch.cuda.max_memory_reserved(here) / max(1, max(one.rest, two.rest, one.client))
    slack = min(2.0, max(1.0, held))
    return GpuMemory(int(one.client * slack) + outside, int(server * slack) + outside, free)


def _peaks(config: RunConfig, nodes: int, clients: int, here: int) -> Peaks:
    forget_tasks()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(here)
    peaks = Peaks(here)
    strategy = rehearse(
        config, build_task(config), build_client_app(lambda context: build_task(config)),
        nodes, clients, peaks.around,
    )  # fmt: skip
    strategy.evaluate(strategy.initial_arrays(), lambda: [evaluation_batch(strategy.task)])
    peaks.note_rest()
    return peaks


def evaluation_batch(task: SplitTask) -> Batch:
    """Return a batch as large as those of the test split."""
    inputs = [
        tensor[:1].to(task.device).expand(EVALUATION_BATCH, *tensor.shape[1:])
        for tensor in as_tensors(task.example)
    ]
    labels = task.objective.example_labels(EVALUATION_BATCH).to(task.device)
    return (inputs[0] if len(inputs) == 1 else tuple(inputs)), labels


if __name__ == "__main__":
    measured = measure(RunConfig.from_run_config(json.load(sys.stdin)), int(sys.argv[1]))
    print(json.dumps(asdict(measured)))

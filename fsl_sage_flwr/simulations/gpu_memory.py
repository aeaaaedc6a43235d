"""Measure the GPU memory of one client and of the server.

    python -m fsl_sage_flwr.simulations.gpu_memory CLIENTS < config.json

Run this in a separate process, which frees all its memory when it ends. It prints a
:class:`GpuMemory` as JSON. The algorithm's own strategy and handlers train with one client and then
with two; the difference is the server's memory per client.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from flwr.app import Message

from ..app.assembly import build_task
from ..app.config import RunConfig
from ..client_apps import build_client_app, label_secret_mod
from ..nodes.task_cache import forget_tasks
from ..rounds.server.server_half_per_client import MOST_AT_WORK
from ..splitting import as_tensors
from ..task import Batch, SplitTask
from ..task_registry import TASKS
from .memory_probe import probe_memory


@dataclass(frozen=True)
class GpuMemory:
    """Memory in bytes.

    Attributes
    ----------
    client : int
        Peak of a process with one client training for a round.
    server : int
        Peak of the server's process.
    free : list of int
        Free memory of each visible GPU before the measurement.
    """

    client: int
    server: int
    free: list[int]


@dataclass
class Peaks:
    """Largest allocations on a device, in bytes, during clients' work and at other times.

    Attributes
    ----------
    device : int
        Index of the GPU.
    client : int
        Largest allocation of the clients: their memory between messages, and the addition of one
        client during its work.
    rest : int
        Largest allocation of the server, without the clients' memory between messages.
    kept : int
        Current memory of the clients between messages: their task, and forward passes that wait for
        gradients.
    """

    device: int
    client: int = 0
    rest: int = 0
    kept: int = 0

    def around(self, work: Callable[[], Message]) -> Message:
        """Run a client's work and record its peak."""
        self.record_rest()
        before = torch.cuda.memory_allocated(self.device)
        reply = work()
        of_the_server = before - self.kept
        peak = torch.cuda.max_memory_allocated(self.device)
        self.client = max(self.client, peak - of_the_server)
        self.kept += torch.cuda.memory_allocated(self.device) - before
        torch.cuda.reset_peak_memory_stats(self.device)
        return reply

    def record_rest(self) -> None:
        """Record the peak since the last client's work."""
        peak = torch.cuda.max_memory_allocated(self.device)
        self.rest = max(self.rest, peak - self.kept)
        torch.cuda.reset_peak_memory_stats(self.device)


def measure(config: RunConfig, clients: int) -> GpuMemory:
    """Measure on the configured GPU."""
    devices = range(torch.cuda.device_count())
    free = [torch.cuda.mem_get_info(device)[0] for device in devices]
    gpu = config.torch_device().index or 0
    # The CUDA context and its libraries use memory that torch does not count.
    torch.zeros(1, device=config.torch_device())
    outside = max(0, free[gpu] - torch.cuda.mem_get_info(gpu)[0])
    one = _peaks(config, 1, clients, gpu)
    two = _peaks(config, min(2, clients), clients, gpu) if clients > 1 else one
    server = server_memory(one, two, clients)
    # torch reserves more than it allocates, because it splits blocks and caches them.
    held = torch.cuda.max_memory_reserved(gpu) / max(1, max(one.rest, two.rest, one.client))
    slack = min(2.0, max(1.0, held))
    return GpuMemory(int(one.client * slack) + outside, int(server * slack) + outside, free)


def server_memory(one: Peaks, two: Peaks, clients: int) -> int:
    """Return the server's memory with ``clients`` clients, from its peaks with one and with two.

    State of a client is on the GPU while the server works for it, otherwise in a file.
    """
    return one.rest + (min(clients, MOST_AT_WORK) - 1) * max(0, two.rest - one.rest)


def _peaks(config: RunConfig, nodes: int, clients: int, gpu: int) -> Peaks:
    forget_tasks()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(gpu)
    peaks = Peaks(gpu)
    strategy = probe_memory(
        config,
        build_task(config),
        build_client_app(
            lambda context: build_task(config, on_client=True), mods=[label_secret_mod]
        ),
        nodes,
        clients,
        peaks.around,
    )
    strategy.evaluate(
        strategy.initial_arrays(),
        lambda: [evaluation_batch(strategy.task, TASKS[config.task].evaluation_batch)],
    )
    peaks.record_rest()
    return peaks


def evaluation_batch(task: SplitTask, samples: int) -> Batch:
    """Return a batch of ``samples`` samples, as in the evaluation of the test split."""
    inputs = [
        tensor[:1].to(task.device).expand(samples, *tensor.shape[1:])
        for tensor in as_tensors(task.example)
    ]
    labels = task.objective.example_labels(samples).to(task.device)
    return (inputs[0] if len(inputs) == 1 else tuple(inputs)), labels


if __name__ == "__main__":
    measured = measure(RunConfig.from_run_config(json.load(sys.stdin)), int(sys.argv[1]))
    print(json.dumps(asdict(measured)))

"""Measure what one client, and the server, take of a GPU.

    python -m fsl_sage_flwr.simulations.gpu_memory CLIENTS < config.json

Run in a process of its own, which gives everything back when it ends; prints the figures of
:class:`GpuMemory` as JSON.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..app.assembly import EVALUATION_BATCH, build_task
from ..app.config import RunConfig
from ..splitting import (
    as_tensors,
    auxiliary_step,
    client_forward,
    client_step,
    estimated_gradients,
    estimated_step,
    server_step,
)
from ..task import ClientIdentity, SplitTask


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


def train_one_round(task: SplitTask, config: RunConfig, clients: int) -> Tensor:
    """Do the arithmetic of one client's round, holding what its handlers hold.

    Returns
    -------
    Tensor
        The labels of its last batch.
    """
    half, algorithm = task.model.client, config.algorithm
    optimizer = task.client_optimizer(half.parameters())
    step: Callable[[Any, Tensor], tuple[Tensor, ...]]
    if algorithm == "fsl_sage":

        def step(inputs: Any, labels: Tensor) -> tuple[Tensor, ...]:
            batch = (inputs, labels)
            return estimated_step(half, task.head, optimizer, batch, task.loss, task.autocast)

    elif algorithm == "cse_fsl":
        both = (optimizer, task.auxiliary_optimizer(task.head.parameters()))

        def step(inputs: Any, labels: Tensor) -> tuple[Tensor, ...]:
            return auxiliary_step(half, task.head, both, (inputs, labels), task.loss, task.autocast)

    elif algorithm in ("sl_multi_server", "sl_single_server"):

        def step(inputs: Any, labels: Tensor) -> tuple[Tensor, ...]:
            smashed = client_forward(half, inputs, task.autocast)
            answer = tuple(torch.zeros_like(t) for t in smashed if t.is_floating_point())
            client_step(optimizer, smashed, answer, len(labels))
            return ()

    else:  # FedAvg, and the most that anybody's own algorithm can hold
        whole = nn.Sequential(half, task.model.server)
        optimizer = task.client_optimizer(whole.parameters())

        def step(inputs: Any, labels: Tensor) -> tuple[Tensor, ...]:
            optimizer.zero_grad()
            with task.autocast():
                loss = task.loss(task.model.server(*as_tensors(half(inputs))), labels)
            torch.autograd.backward(loss)
            optimizer.step()
            return ()

    kept = []
    for _ in range(config.local_epochs):
        for k, (inputs, labels) in enumerate(task.train_batches(ClientIdentity(0, clients), 0)):
            smashed = step(inputs, labels)
            if k % config.server_update_interval == 0:
                kept.append(smashed)
    return labels


def train_server_half(task: SplitTask, config: RunConfig, clients: int, labels: Tensor) -> None:
    """Do the server's arithmetic: a step, an evaluation, and an alignment's double backward."""
    (inputs,) = (tensor[:1].to(task.device) for tensor in as_tensors(task.example))
    with torch.no_grad():
        one = as_tensors(task.model.client.eval()(inputs))

    def smashed(count: int) -> tuple[Tensor, ...]:
        return tuple(t.repeat(count, *[1] * (t.dim() - 1)) for t in one)

    half, copies = task.model.server, clients if config.algorithm == "sl_multi_server" else 1
    # As large as a server half's optimizer state and copy, for each further client.
    held = [torch.empty_like(p) for _ in range(3 * (copies - 1)) for p in half.parameters()]
    optimizer = task.server_optimizer(half.parameters())
    server_step(half, optimizer, smashed(len(labels)), labels, task.loss, task.autocast)
    optimizer.zero_grad()
    with torch.no_grad(), task.autocast():
        half(*as_tensors(task.model.client(inputs.expand(EVALUATION_BATCH, *inputs.shape[1:]))))
    if config.algorithm == "fsl_sage":
        head, count = task.head, config.align_batch_size
        held += [torch.empty_like(p) for _ in range(3 * clients) for p in head.parameters()]
        sets = [smashed(config.align_dataset_size) for _ in range(clients)]
        answers = labels[:1].repeat(count)
        gradients = estimated_gradients(head, smashed(count), answers, task.loss, create_graph=True)
        torch.autograd.backward(sum((g.pow(2).sum() for g in gradients), answers.new_zeros(())))
        del sets
    del held


def measure(config: RunConfig, clients: int) -> GpuMemory:
    """Measure on the GPU that the configuration names."""
    devices = range(torch.cuda.device_count())
    free = [torch.cuda.mem_get_info(device)[0] for device in devices]
    task = build_task(config)
    here = task.device.index or 0
    labels = train_one_round(task, config, clients)
    client = torch.cuda.max_memory_reserved(here)
    # What is not torch's: the CUDA context and its libraries.
    outside = max(0, free[here] - torch.cuda.mem_get_info(here)[0] - client)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(here)
    train_server_half(task, config, clients, labels)
    return GpuMemory(client + outside, torch.cuda.max_memory_reserved(here) + outside, free)


if __name__ == "__main__":
    measured = measure(RunConfig.from_run_config(json.load(sys.stdin)), int(sys.argv[1]))
    print(json.dumps(asdict(measured)))

"""Measure the floating-point operations of a run's halves and head, for the virtual clock."""

import torch
from torch import Tensor, nn

from ..splitting import as_tensors, forward_flops
from ..splitting.model_state import unchanged
from ..strategies import SplitStrategy
from ..task import SplitTask


def flops_of(strategy: SplitStrategy) -> dict[str, int]:
    """Measure the forward passes of one sample, on the example of the task.

    Matrix products and convolutions are counted, by PyTorch's formulas; a multiplication
    and an addition count as two. Weights, running statistics and random state do not change.

    Returns
    -------
    dict
        Floating-point operations by ``client`` (client half), ``head`` (0 for an algorithm without
        one) and ``server`` (server half).
    """
    task = strategy.task
    inputs = tuple(tensor.to(task.device) for tensor in as_tensors(task.example))
    smashed = task.to_device(tuple(tensor.clone() for tensor in task.smashed_example()))
    return {
        "client": _measured(task, task.model.client, inputs),
        "head": _measured(task, task.head, smashed) if strategy.auxiliary_parameters else 0,
        "server": _measured(task, task.model.server, smashed),
    }


def _measured(task: SplitTask, module: nn.Module, inputs: tuple[Tensor, ...]) -> int:
    labels = task.objective.example_labels(len(inputs[0])).to(task.device)
    with (
        unchanged(module),
        torch.random.fork_rng(devices=[]),
        task.objective.where(module, labels),
    ):
        return forward_flops(module, *inputs)

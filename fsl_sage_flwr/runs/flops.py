"""Measure the floating-point operations of halves, head and codecs, for the virtual clock."""

from typing import Any

import torch
from torch import Tensor, nn

from ..compression.estimates import coding_operations
from ..splitting import as_tensors, forward_flops
from ..splitting.model_state import unchanged
from ..strategies import SplitStrategy
from ..task import SplitTask


def flops_of(strategy: SplitStrategy) -> dict[str, Any]:
    """Measure the forward passes of one sample, on the example of the task.

    Matrix products and convolutions are counted, by PyTorch's formulas; a multiplication
    and an addition count as two. Weights, running statistics and random state do not change.

    Returns
    -------
    dict
        Floating-point operations by ``client`` (client half), ``head`` (0 for an algorithm without
        one) and ``server`` (server half); of a run with codecs also ``coding``, a client's
        operations per coded byte by direction and kind of payload.
    """
    task = strategy.task
    inputs = tuple(tensor.to(task.device) for tensor in as_tensors(task.example))
    smashed = task.to_device(tuple(tensor.clone() for tensor in task.smashed_example()))
    found: dict[str, Any] = {
        "client": _measured(task, task.model.client, inputs),
        "head": _measured(task, task.head, smashed) if strategy.auxiliary_parameters else 0,
        "server": _measured(task, task.model.server, smashed),
    }
    if coding := coding_operations(strategy.downlink.compression):
        found["coding"] = coding
    return found


def _measured(task: SplitTask, module: nn.Module, inputs: tuple[Tensor, ...]) -> int:
    labels = task.objective.example_labels(len(inputs[0])).to(task.device)
    with (
        unchanged(module),
        torch.random.fork_rng(devices=[]),
        task.objective.where(module, labels),
    ):
        return forward_flops(module, *inputs)

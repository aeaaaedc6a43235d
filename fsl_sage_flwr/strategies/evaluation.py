"""Evaluate the two halves on the server."""

import os
from collections.abc import Callable, Iterable

import torch
from flwr.app import ArrayRecord, MetricRecord
from torch import Tensor

from ..splitting import Evaluation, evaluate
from ..task import Batch, SplitTask


def to_record(evaluation: Evaluation, split: str) -> MetricRecord:
    """Return metrics ``{split}-loss`` and ``{split}-accuracy``, as Flower's ``Result`` has them."""
    return MetricRecord(
        {f"{split}-loss": evaluation.loss, f"{split}-accuracy": evaluation.accuracy}
    )


def evaluate_halves(
    task: SplitTask, client_half: ArrayRecord, batches: Callable[[], Iterable[Batch]]
) -> Evaluation:
    """Evaluate an averaged client half with the task's server half, in eval mode.

    Parameters
    ----------
    task : SplitTask
        Its client half's values are replaced by ``client_half``.
    client_half : ArrayRecord
        As Flower's ``evaluate_fn`` is given it.
    batches : callable
        Returns the test batches, on ``task.device``.
    """
    client, server = task.model.client, task.model.server
    client.load_state_dict(client_half.to_torch_state_dict())
    threads = torch.get_num_threads()
    torch.set_num_threads(os.cpu_count() or threads)  # the clients are at rest
    found = evaluate((client, server), batches(), task.loss, task.autocast)
    torch.set_num_threads(threads)
    return found


def evaluate_server_half(
    task: SplitTask, batches: Iterable[tuple[tuple[Tensor, ...], Tensor]]
) -> Evaluation:
    """Evaluate the server half, in eval mode, on smashed data that clients sent."""
    there = ((task.to_device(tensors), labels.to(task.device)) for tensors, labels in batches)
    return evaluate((task.model.server,), there, task.loss, task.autocast)

"""Evaluate the two halves on the server."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from flwr.app import ArrayRecord, MetricRecord

from ..splitting import as_tensors
from ..task import Batch, SplitTask


@dataclass(frozen=True)
class Evaluation:
    """Test results, means over examples.

    Attributes
    ----------
    loss : float
        Mean loss.
    accuracy : float
        Share of examples whose highest score is their label's, 0 to 1.
    num_examples : int
        How many there were.
    """

    loss: float
    accuracy: float
    num_examples: int

    def to_record(self) -> MetricRecord:
        """Return what Flower's ``evaluate_fn`` returns."""
        return MetricRecord({"test-loss": self.loss, "test-accuracy": self.accuracy})


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
    client.eval()
    server.eval()
    total_loss, correct, count = 0.0, 0, 0
    threads = torch.get_num_threads()
    torch.set_num_threads(os.cpu_count() or threads)  # the clients are at rest
    with torch.no_grad(), task.autocast():
        for inputs, labels in batches():
            output = server(*as_tensors(client(inputs)))
            total_loss += task.loss(output.float(), labels).item() * len(labels)
            correct += int((output.argmax(dim=1) == labels).sum())
            count += len(labels)
    torch.set_num_threads(threads)
    client.train()
    server.train()
    return Evaluation(total_loss / max(count, 1), correct / max(count, 1), count)

"""Evaluate the two halves on the server."""

from collections.abc import Callable, Iterable

from flwr.app import ArrayRecord, MetricRecord
from torch import Tensor

from ...splitting import Evaluation, evaluate
from ...task import Batch, SplitTask
from ..threads import all_threads


def to_record(evaluation: Evaluation, split: str) -> MetricRecord:
    """Return the loss and each score, as Flower's ``Result`` has them.

    Of a classification these are ``{split}-loss`` and ``{split}-accuracy``.
    """
    scores = {f"{split}-{name}": score.value for name, score in evaluation.scores.items()}
    return MetricRecord({f"{split}-loss": evaluation.loss, **scores})


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
        Returns the test batches, on any device.
    """
    halves = task.model.client, task.model.server
    task.load_weights(task.model.client, client_half.to_torch_state_dict())
    with all_threads():
        moved = map(task.on_device, batches())
        return evaluate(halves, moved, task.objective, task.autocast)


def evaluate_server_half(
    task: SplitTask, batches: Iterable[tuple[tuple[Tensor, ...], Tensor]]
) -> Evaluation:
    """Evaluate the server half, in eval mode, on smashed data that clients sent."""
    moved = ((task.to_device(tensors), labels.to(task.device)) for tensors, labels in batches)
    return evaluate((task.model.server,), moved, task.objective, task.autocast)

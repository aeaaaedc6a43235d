"""Evaluate the parts of the model on the server."""

import math
from collections.abc import Callable, Iterable

import torch
from flwr.app import ArrayRecord, MetricRecord
from torch import Tensor

from ...batching import batches_of
from ...messages import EvaluateReply
from ...objective import Score
from ...splitting import Evaluation, client_forward, evaluate
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
    task.load_weights(task.model.client, client_half.to_torch_state_dict())
    with all_threads():
        moved = (task.on_device(batch, "the test batches") for batch in batches())
        return evaluate(task.model.parts, moved, task.objective, task.autocast)


def hidden_states(task: SplitTask, smashed: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return what the server half makes of smashed data for a tail, in eval mode, on the CPU."""
    server = task.model.server.eval()
    found = []
    with torch.no_grad():
        for rows in batches_of(len(smashed[0]), task.gradient_batch):
            part = task.to_device(tuple(tensor[rows] for tensor in smashed))
            found.append(client_forward(server, part, task.autocast))
    server.train()
    return tuple(torch.cat([t.cpu() for t in column]) for column in zip(*found, strict=True))


def evaluation_in(reply: EvaluateReply, names: Iterable[str]) -> Evaluation:
    """Return the results that a client has computed itself, with these scores."""
    scores = {}
    for name in names:
        weight = reply.scores.get(f"{name}-weight", reply.num_examples)
        scores[name] = Score(reply.scores[name] if weight else math.nan, weight)
    return Evaluation(reply.loss, reply.num_examples, scores)


def evaluate_server_half(
    task: SplitTask, batches: Iterable[tuple[tuple[Tensor, ...], Tensor]]
) -> Evaluation:
    """Evaluate the server half, in eval mode, on smashed data that clients sent."""
    moved = ((task.to_device(tensors), labels.to(task.device)) for tensors, labels in batches)
    return evaluate((task.model.server,), moved, task.objective, task.autocast)

"""Evaluate on the client's own validation part."""

from collections.abc import Iterable

import torch
from flwr.app import Context, Message

from ..messages import (
    EVALUATE_FULL_MODEL,
    EVALUATE_SPLIT,
    EvaluateReply,
    MissingPayloadError,
    SmashedBatches,
    SmashedReply,
    WeightsRequest,
)
from ..splitting import client_forward, evaluate
from ..task import Batch, SplitTask
from .identity import identify
from .loading import load_weights, load_whole


def evaluate_split(message: Message, context: Context, task: SplitTask) -> Message:
    """Reply with the smashed data and labels of the validation part for the server to score."""
    request = WeightsRequest.unpack(message.content)
    half = task.model.client
    load_weights(half, request.weights, "client half", task)
    half.eval()
    with torch.no_grad():
        smashed = [
            (client_forward(half, inputs, task.autocast), labels)
            for inputs, labels in _validation_batches(task, context)
        ]
    half.train()
    reply = SmashedReply(smashed=SmashedBatches.join(smashed))
    return Message(reply.pack(), reply_to=message)


def evaluate_full_model(message: Message, context: Context, task: SplitTask) -> Message:
    """Evaluate the whole model on the client."""
    request = WeightsRequest.unpack(message.content)
    halves = (task.model.client, task.model.server)
    load_whole(request.weights, task)
    found = evaluate(halves, _validation_batches(task, context), task.objective, task.autocast)
    if not found.num_examples:
        raise MissingPayloadError("none of the labels of the validation examples counts")
    # A score of no items has weight 0; send 0 in place of NaN.
    scores = {name: score.value if score.weight else 0.0 for name, score in found.scores.items()}
    for name, score in found.scores.items():
        if score.weight != found.num_examples:
            scores[f"{name}-weight"] = float(score.weight)
    reply = EvaluateReply(
        round=request.round, loss=found.loss, num_examples=found.num_examples, scores=scores
    )
    return Message(reply.pack(), reply_to=message)


def _validation_batches(task: SplitTask, context: Context) -> Iterable[Batch]:
    client = identify(context)
    if task.validation_batches is None:
        raise MissingPayloadError("this node's task has no validation_batches to evaluate on")
    batches = list(task.validation_batches(client))
    if not batches:
        raise MissingPayloadError(f"client {client.partition_id} has no validation examples")
    return map(task.on_device, batches)


HANDLERS = {EVALUATE_SPLIT: evaluate_split, EVALUATE_FULL_MODEL: evaluate_full_model}

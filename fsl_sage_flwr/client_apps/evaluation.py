"""Federated evaluation on the client's own validation part."""

from collections.abc import Iterable

import torch
from flwr.app import Context, Message, RecordDict

from ..messages import EvaluateReply, MissingPayloadError, SmashedBatches, WeightsRequest
from ..splitting import client_forward, evaluate
from ..task import Batch, SplitTask
from .identity import identify
from .loading import load_half, load_weights


def evaluate_split(message: Message, context: Context, task: SplitTask) -> Message:
    """Answer with the smashed data and labels of the validation part; the server scores them."""
    request = WeightsRequest.from_records(message.content)
    half = task.model.client
    load_weights(half, request.weights, "client half", task)
    half.eval()
    with torch.no_grad():
        smashed = [
            (client_forward(half, inputs, task.autocast), labels)
            for inputs, labels in _validation_batches(task, context)
        ]
    half.train()
    content = RecordDict()
    SmashedBatches.join(smashed).write_to(content)
    return Message(content, reply_to=message)


def evaluate_full_model(message: Message, context: Context, task: SplitTask) -> Message:
    """Evaluate the whole model, which FedAvg's clients hold."""
    request = WeightsRequest.from_records(message.content)
    halves = (task.model.client, task.model.server)
    for half in halves:
        load_half(half, request.weights, task)
    found = evaluate(halves, _validation_batches(task, context), task.loss, task.autocast)
    reply = EvaluateReply(request.round, found.loss, found.accuracy, found.num_examples)
    return Message(reply.to_records(), reply_to=message)


def _validation_batches(task: SplitTask, context: Context) -> Iterable[Batch]:
    client = identify(context)
    if task.validation_batches is None:
        raise MissingPayloadError("this node's task has no validation_batches to evaluate on")
    batches = list(task.validation_batches(client))
    if not batches:
        raise MissingPayloadError(f"client {client.partition_id} has no validation examples")
    return batches

"""Evaluate on the client's own validation part."""

from collections.abc import Iterable

import torch
from flwr.app import Context, Message
from torch import Tensor

from ..batch_check import check_iterable
from ..messages import (
    EVALUATE_FULL_MODEL,
    EVALUATE_SPLIT,
    EVALUATE_TAIL,
    EvaluateReply,
    MissingPayloadError,
    SmashedBatches,
    SmashedReply,
    TailEvaluation,
    UnlabelledReply,
    WeightsRequest,
)
from ..splitting import (
    Evaluation,
    client_forward,
    evaluate,
    load_trainable_state,
    trainable_state,
)
from ..task import Batch, SplitTask
from .client_state import ClientState
from .identity import identify
from .loading import load_weights, load_whole

TAIL = "evaluated-tail"  # a file: the tail's weights, between the two messages of an evaluation


def evaluate_split(message: Message, context: Context, task: SplitTask) -> Message:
    """Reply with the smashed data of the validation part, and with its labels if they are sent."""
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
    if (tail := task.model.tail) is not None:
        ClientState(context).save_file(TAIL, trainable_state(tail), request.round)
        columns = zip(*(tensors for tensors, _ in smashed), strict=True)
        sent = tuple(torch.cat([tensor.cpu() for tensor in column]) for column in columns)
        unlabelled = UnlabelledReply(samples=len(sent[0]), smashed=sent)
        return Message(unlabelled.pack(), reply_to=message)
    reply = SmashedReply(smashed=SmashedBatches.join(smashed))
    return Message(reply.pack(), reply_to=message)


def evaluate_tail(message: Message, context: Context, task: SplitTask) -> Message:
    """Evaluate the tail on the hidden states of the validation part, and reply with the scores."""
    request, tail = TailEvaluation.unpack(message.content), task.model.tail
    weights = ClientState(context).load(TAIL, request.round)
    if tail is None or weights is None:
        raise MissingPayloadError("this node has no tail for the hidden states")
    ClientState(context).drop(TAIL)
    load_trainable_state(tail, weights)
    found = evaluate(
        (tail,), _hidden_batches(request, task, context), task.objective, task.autocast
    )
    return Message(_scores(found, request.round).pack(), reply_to=message)


def _hidden_batches(
    request: TailEvaluation, task: SplitTask, context: Context
) -> Iterable[tuple[tuple[Tensor, ...], Tensor]]:
    start = 0
    for _, labels in _validation_batches(task, context):
        rows = slice(start, start + len(labels))
        yield task.to_device(tuple(tensor[rows] for tensor in request.hidden)), labels
        start = rows.stop


def evaluate_full_model(message: Message, context: Context, task: SplitTask) -> Message:
    """Evaluate the whole model on the client."""
    request = WeightsRequest.unpack(message.content)
    halves = (task.model.client, task.model.server)
    load_whole(request.weights, task)
    found = evaluate(halves, _validation_batches(task, context), task.objective, task.autocast)
    return Message(_scores(found, request.round).pack(), reply_to=message)


def _scores(found: Evaluation, round_: int) -> EvaluateReply:
    """Return results as a reply.

    Raises
    ------
    MissingPayloadError
        No label counts.
    """
    if not found.num_examples:
        raise MissingPayloadError("none of the labels of the validation examples counts")
    # A score of no items has weight 0; send 0 in place of NaN.
    scores = {name: score.value if score.weight else 0.0 for name, score in found.scores.items()}
    for name, score in found.scores.items():
        if score.weight != found.num_examples:
            scores[f"{name}-weight"] = float(score.weight)
    return EvaluateReply(
        round=round_, loss=found.loss, num_examples=found.num_examples, scores=scores
    )


def _validation_batches(task: SplitTask, context: Context) -> Iterable[Batch]:
    client = identify(context)
    if task.validation_batches is None:
        raise MissingPayloadError("this node's task has no validation_batches to evaluate on")
    given = task.validation_batches(client)
    check_iterable(given, "validation_batches")
    batches = list(given)
    if not batches:
        raise MissingPayloadError(f"client {client.partition_id} has no validation examples")
    return (task.on_device(batch, "validation_batches") for batch in batches)


HANDLERS = {
    EVALUATE_SPLIT: evaluate_split,
    EVALUATE_FULL_MODEL: evaluate_full_model,
    EVALUATE_TAIL: evaluate_tail,
}

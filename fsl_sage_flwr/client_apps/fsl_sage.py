"""FSL-SAGE on the client: train the client half on a head's estimate of the server's gradient.

The strategy is ``fsl_sage_flwr.strategies.FslSage``.
"""

import torch
from flwr.app import Context, Message
from torch import Tensor, nn

from ..messages import (
    MissingPayloadError,
    SmashedBatches,
    SmashedReply,
    TrainRequest,
    WeightsRequest,
)
from ..nodes.client_state import ClientState
from ..nodes.held_out import held_out
from ..nodes.identity import identify
from ..nodes.loading import load_weights
from ..nodes.local_batches import NoExamplesError, epoch_batches, seed_round
from ..nodes.local_round import LocalRound
from ..nodes.shared_head import train_shared_head
from ..splitting import client_forward, estimated_step, forget_sample_gradients
from ..task import SplitTask

PROBE = "query.fsl_sage_probe"
WARM_START = "train.fsl_sage_warm_start"
TRAIN = "train.fsl_sage"

# Names under which the node keeps the client half and the head.
CLIENT_HALF = "client-half"
AUXILIARY = "auxiliary"


def probe(message: Message, context: Context, task: SplitTask) -> Message:
    """Answer with the smashed data of the round's first batch; nothing is trained."""
    request = WeightsRequest.unpack(message.content)
    client, half = identify(context), task.model.client
    load_weights(half, request.weights, "client half", task)
    ClientState(context).save(CLIENT_HALF, dict(request.weights), version=request.round)
    seed_round(task, client, request.round)
    batches = epoch_batches(task, client, request.round, 0)
    first = next(iter(batches), None)
    if first is None:
        raise NoExamplesError(client)
    inputs, labels = task.on_device(first)
    with torch.no_grad():
        smashed = client_forward(half, inputs, task.autocast)
    mask = held_out(task, client, batches, 0)
    joined = SmashedBatches.join([(smashed, labels)], [] if mask is None else [mask])
    reply = SmashedReply(smashed=joined)
    return Message(reply.pack(), reply_to=message)


def train(message: Message, context: Context, task: SplitTask) -> Message:
    """Train the client half for one round on the head's estimates.

    Keeps the smashed data of every q-th batch, taken before the batch's step, and
    replies with them and the client half.
    """
    round_ = LocalRound(message, context, task, TrainRequest, marks_held_out=True)
    request, half = round_.request, task.model.client
    after_probe = request.client_half is None
    load_weights(half, _client_half(request, round_.state), "client half", task)
    head = _head(request, round_.state, task)
    optimizer = round_.client_optimizer()
    for batch in round_.batches():
        smashed = estimated_step(half, head, optimizer, batch, task.objective, task.autocast)
        round_.keep_for_upload(smashed, batch[1], sent=after_probe)
    return round_.reply(task.weights_of(half))


def _client_half(request: TrainRequest, state: ClientState) -> dict[str, Tensor]:
    if request.client_half is not None:
        return dict(request.client_half)
    kept = state.load(CLIENT_HALF, version=request.round)
    if kept is None:
        raise MissingPayloadError("the client half that came with the probe is gone from this node")
    state.drop(CLIENT_HALF)
    return kept


def _head(request: TrainRequest, state: ClientState, task: SplitTask) -> nn.Module:
    tensors = None if request.auxiliary is None else dict(request.auxiliary)
    if tensors is not None:
        state.save(AUXILIARY, tensors, version=request.auxiliary_version)
    else:
        tensors = state.load(AUXILIARY, version=request.auxiliary_version)
    if tensors is None:
        raise MissingPayloadError(
            f"auxiliary head {request.auxiliary_version} is gone from this node; "
            "the server sends it again next round"
        )
    forget_sample_gradients(task.head)  # a warm start has trained it here
    load_weights(task.head, tensors, "auxiliary head", task)
    return task.head


def warm_start(message: Message, context: Context, task: SplitTask) -> Message:
    """Train the client half and the clients' shared head for one round, on the head's loss."""
    return train_shared_head(message, context, task, marks_held_out=True)


HANDLERS = {PROBE: probe, WARM_START: warm_start, TRAIN: train}

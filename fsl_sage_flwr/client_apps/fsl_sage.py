"""FSL-SAGE on the client; the strategy is ``fsl_sage_flwr.strategies.FslSage``."""

import torch
from flwr.app import Context, Message, RecordDict
from torch import Tensor, nn

from ..messages import MissingPayloadError, SmashedBatches, TrainRequest, WeightsRequest
from ..splitting import client_forward, estimated_step
from ..task import SplitTask
from .client_state import ClientState
from .identity import identify
from .loading import load_weights
from .local_training import OPTIMIZER, LocalRound, epoch_batches, seed_round

CLIENT_HALF = "client-half"
AUXILIARY = "auxiliary"


def probe(message: Message, context: Context, task: SplitTask) -> Message:
    """Answer with the smashed data of the round's first batch; nothing is trained."""
    request = WeightsRequest.from_records(message.content)
    client = identify(context)
    load_weights(task.model.client, request.weights, "client half", task)
    ClientState(context).save(CLIENT_HALF, dict(request.weights), version=request.round)
    seed_round(task, client, request.round)
    inputs, labels = next(iter(epoch_batches(task, client, request.round, 0)))
    with torch.no_grad():
        smashed = client_forward(task.model.client, inputs, task.autocast)
    content = RecordDict()
    SmashedBatches.join([(smashed, labels)]).write_to(content)
    return Message(content, reply_to=message)


def train(message: Message, context: Context, task: SplitTask) -> Message:
    """Train the client half for one round on the head's estimates.

    Keeps the smashed data of every q-th batch, taken before the batch's step, and
    replies with them and the client half.
    """
    round_ = LocalRound(message, context, task)
    request, half = round_.request, task.model.client
    after_probe = request.client_half is None
    load_weights(half, _client_half(request, round_.state), "client half", task)
    head = _head(request, round_.state, task)
    optimizer = round_.optimizer(OPTIMIZER, task.client_optimizer, half, task.client_schedule)
    for inputs, labels in round_.batches():
        smashed = estimated_step(half, head, optimizer, (inputs, labels), task.loss, task.autocast)
        round_.offer(smashed, labels, sent=after_probe)
    return round_.reply(half.state_dict())


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
    load_weights(task.head, tensors, "auxiliary head", task)
    return task.head

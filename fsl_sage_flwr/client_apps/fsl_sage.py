"""FSL-SAGE on the client; the strategy is ``fsl_sage_flwr.strategies.FslSage``."""

import time

import torch
from flwr.app import Context, Message, RecordDict
from torch import Tensor, nn

from ..messages import MissingPayloadError, ProbeRequest, SmashedBatches, TrainReply, TrainRequest
from ..splitting import client_forward, estimated_step
from ..task import SplitTask
from .client_state import ClientState
from .identity import identify
from .local_training import OPTIMIZER, KeptOptimizer, round_batches

CLIENT_HALF = "client-half"
AUXILIARY = "auxiliary"


def probe(message: Message, context: Context, task: SplitTask) -> Message:
    """Answer with the smashed data of the round's first batch; nothing is trained."""
    request = ProbeRequest.from_records(message.content)
    client = identify(context)
    task.model.client.load_state_dict(request.client_half)
    ClientState(context).save(CLIENT_HALF, dict(request.client_half), version=request.round)
    inputs, labels = next(round_batches(task, client, request.round))
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
    began, step_seconds = time.perf_counter(), 0.0
    request = TrainRequest.from_records(message.content)
    client, state = identify(context), ClientState(context)
    half = task.model.client
    after_probe = request.client_half is None
    half.load_state_dict(_client_half(request, state))
    head = _head(request, state, task)
    optimizer = KeptOptimizer(
        task.client_optimizer(half.parameters()),
        state,
        OPTIMIZER,
        keep=request.keep_optimizer_state,
        trained_before=request.trained_before,
    )

    kept: list[tuple[tuple[Tensor, ...], Tensor]] = []
    examples = 0
    for k, (inputs, labels) in enumerate(round_batches(task, client, request.round)):
        step_began = time.perf_counter()
        smashed = estimated_step(
            half, head, optimizer.optimizer, (inputs, labels), task.loss, task.autocast
        )
        step_seconds += time.perf_counter() - step_began
        examples += len(labels)
        uploaded_already = after_probe and k == 0
        if k % request.server_update_interval == 0 and not uploaded_already:
            kept.append((smashed, labels))

    optimizer.save()
    reply = TrainReply(
        round=request.round,
        num_examples=examples // task.local_epochs,
        optimizer_state_lost=optimizer.lost,
        seconds=time.perf_counter() - began,
        step_seconds=step_seconds,
        client_half=half.state_dict(),
        smashed=SmashedBatches.join(kept) if kept else None,
    )
    return Message(reply.to_records(), reply_to=message)


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
    task.head.load_state_dict(tensors)
    return task.head

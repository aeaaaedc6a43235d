"""FedAvg on the client; the strategy is ``fsl_sage_flwr.strategies.FullModelFedAvg``."""

import time

import torch
from flwr.app import Context, Message

from ..messages import TrainReply, TrainRequest
from ..seeding import derive_seed
from ..splitting import as_tensors
from ..task import SplitTask
from .client_state import ClientState
from .identity import identify
from .local_training import OPTIMIZER, KeptOptimizer, need, round_batches

SERVER_OPTIMIZER = "server-optimizer"


def train(message: Message, context: Context, task: SplitTask) -> Message:
    """Train both halves for one round as the whole model that they are."""
    began, step_seconds = time.perf_counter(), 0.0
    request = TrainRequest.from_records(message.content)
    client, state = identify(context), ClientState(context)
    model, whole = task.model, need(request.client_half, "model")
    model.client.load_state_dict({name: whole[name] for name in model.client.state_dict()})
    model.server.load_state_dict({name: whole[name] for name in model.server.state_dict()})
    optimizers = [
        KeptOptimizer(
            make(half.parameters()),
            state,
            name,
            keep=request.keep_optimizer_state,
            trained_before=request.trained_before,
        )
        for make, half, name in (
            (task.client_optimizer, model.client, OPTIMIZER),
            (task.server_optimizer, model.server, SERVER_OPTIMIZER),
        )
    ]

    examples, total_loss = 0, 0.0
    for k, (inputs, labels) in enumerate(round_batches(task, client, request.round)):
        step_began = time.perf_counter()
        place = request.round, client.partition_id, k
        with task.autocast():
            # Each half draws what it draws in SplitFed: its V1 is equal to this.
            torch.manual_seed(derive_seed(task.seed, "client", *place))
            smashed = as_tensors(model.client(inputs))
            torch.manual_seed(derive_seed(task.seed, "server", *place))
            loss = task.loss(model.server(*smashed), labels)
        for optimizer in optimizers:
            optimizer.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        for optimizer in optimizers:
            optimizer.optimizer.step()
        step_seconds += time.perf_counter() - step_began
        examples += len(labels)
        total_loss += loss.item() * len(labels)

    for optimizer in optimizers:
        optimizer.save()
    reply = TrainReply(
        round=request.round,
        num_examples=examples // task.local_epochs,
        optimizer_state_lost=any(optimizer.lost for optimizer in optimizers),
        seconds=time.perf_counter() - began,
        step_seconds=step_seconds,
        client_half=model.merged_state_dict(),
        train_loss=total_loss / examples,
    )
    return Message(reply.to_records(), reply_to=message)

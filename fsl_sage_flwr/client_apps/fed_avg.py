"""FedAvg on the client; the strategy is ``fsl_sage_flwr.strategies.FullModelFedAvg``."""

import torch
from flwr.app import Context, Message

from ..splitting import as_tensors
from ..task import SplitTask
from .loading import load_half
from .local_training import OPTIMIZER, SERVER_OPTIMIZER, LocalRound, need


def train(message: Message, context: Context, task: SplitTask) -> Message:
    """Train both halves for one round as the whole model that they are."""
    round_ = LocalRound(message, context, task)
    model, whole = task.model, need(round_.request.client_half, "model")
    load_half(model.client, whole, task)
    load_half(model.server, whole, task)
    optimizers = (
        round_.optimizer(OPTIMIZER, task.client_optimizer, model.client, task.client_schedule),
        round_.optimizer(
            SERVER_OPTIMIZER, task.server_optimizer, model.server, task.server_schedule
        ),
    )
    total_loss, examples = 0.0, 0
    for k, (inputs, labels) in enumerate(round_.batches()):
        place = round_.request.round, round_.client.partition_id, k
        with task.autocast():
            # Each half draws what it draws in SplitFed: its V1 is equal to this.
            task.reseed("client", *place)
            smashed = as_tensors(model.client(inputs))
            task.reseed("server", *place)
            loss = task.loss(model.server(*smashed), labels)
        for optimizer in optimizers:
            optimizer.zero_grad()
        torch.autograd.backward(loss)
        for optimizer in optimizers:
            optimizer.step()
        total_loss += loss.item() * len(labels)
        examples += len(labels)
    return round_.reply(model.merged_state_dict(), train_loss=total_loss / examples)

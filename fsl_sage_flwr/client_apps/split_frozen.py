"""Clients of SplitFrozen, whose half of the model stays as it is."""

import torch
from flwr.app import Context, Message

from ..messages import TrainRequest
from ..nodes.loading import load_weights
from ..nodes.local_round import LocalRound
from ..splitting import client_forward
from ..task import SplitTask


@torch.no_grad()
def train(message: Message, context: Context, task: SplitTask) -> Message:
    """Upload the smashed data of one pass over the client's data."""
    round_ = LocalRound(message, context, task, TrainRequest)
    half = task.model.client
    load_weights(half, round_.request.client_half, "client half", task)
    half.eval()
    for inputs, labels in round_.batches(epochs=1):
        round_.keep_for_upload(client_forward(half, inputs, task.autocast), labels)
    return round_.reply()


HANDLERS = {"train.split_frozen": train}

"""FedAvg on the client: the whole model is trained there.

The strategy is ``fsl_sage_flwr.strategies.FullModelFedAvg``.
"""

import torch
from flwr.app import Context, Message

from ..messages import TrainRequest
from ..nodes.loading import load_whole
from ..nodes.local_round import LocalRound
from ..splitting import as_tensors
from ..task import SplitTask

TRAIN = "train.fed_avg"


def train(message: Message, context: Context, task: SplitTask) -> Message:
    """Train both halves for one round as the whole model that they are."""
    round_ = LocalRound(message, context, task, TrainRequest)
    model = task.model
    load_whole(round_.request.client_half, task)
    optimizers = round_.client_optimizer(), round_.server_optimizer()
    total_loss, examples = 0.0, 0
    for k, (inputs, labels) in enumerate(round_.batches()):
        place = round_.request.round, round_.client.partition_id, k
        with task.autocast():
            # Each half draws the same random numbers as in SplitFed V1, which must be equal.
            task.reseed("client", *place)
            smashed = as_tensors(model.client(*as_tensors(inputs)))
            task.reseed("server", *place)
            loss = task.objective.mean_loss(model.server, smashed, labels)
        for optimizer in optimizers:
            optimizer.zero_grad()
        torch.autograd.backward(loss)
        for optimizer in optimizers:
            optimizer.step()
        count = task.objective.count(labels)
        total_loss += loss.item() * count
        examples += count
    return round_.reply(task.weights_of_both(), train_loss=total_loss / examples)


HANDLERS = {TRAIN: train}

"""Train a head that all clients share, and the client half through it."""

from flwr.app import Context, Message

from ..messages import TrainRequest
from ..splitting import auxiliary_step
from ..task import SplitTask
from .loading import load_weights
from .local_round import LocalRound


def train_shared_head(
    message: Message, context: Context, task: SplitTask, *, marks_held_out: bool = False
) -> Message:
    """Train the client half and the head for one round on the head's loss.

    Keeps the smashed data of every q-th batch, taken before the batch's step, and replies
    with them, the client half and the head. ``marks_held_out`` is :class:`LocalRound`'s.
    """
    round_ = LocalRound(message, context, task, TrainRequest, marks_held_out=marks_held_out)
    half, head = task.model.client, task.head
    load_weights(half, round_.request.client_half, "client half", task)
    load_weights(head, round_.request.auxiliary, "auxiliary head", task)
    optimizers = round_.client_optimizer(parts=2), round_.auxiliary_optimizer(parts=2)
    for batch in round_.batches():
        smashed = auxiliary_step(half, head, optimizers, batch, task.objective, task.autocast)
        round_.keep_for_upload(smashed, batch[1])
    return round_.reply(task.weights_of(half), auxiliary=task.weights_of(head))

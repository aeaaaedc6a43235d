"""CSE-FSL on the client; the strategy is ``fsl_sage_flwr.strategies.CseFsl``."""

from flwr.app import Context, Message

from ..splitting import auxiliary_step
from ..task import SplitTask
from .loading import load_weights
from .local_training import AUXILIARY_OPTIMIZER, OPTIMIZER, LocalRound, need


def train(message: Message, context: Context, task: SplitTask) -> Message:
    """Train the client half and the head for one round on the head's loss.

    Keeps the smashed data of every q-th batch, taken before the batch's step, and replies
    with them, the client half and the head.
    """
    round_ = LocalRound(message, context, task)
    half, head = task.model.client, task.head
    request = round_.request
    load_weights(half, need(request.client_half, "client half"), "client half", task)
    load_weights(head, need(request.auxiliary, "auxiliary head"), "auxiliary head", task)
    optimizers = (
        round_.optimizer(OPTIMIZER, task.client_optimizer, half, task.client_schedule),
        round_.optimizer(
            AUXILIARY_OPTIMIZER, task.auxiliary_optimizer, head, task.auxiliary_schedule
        ),
    )
    for inputs, labels in round_.batches():
        smashed = auxiliary_step(half, head, optimizers, (inputs, labels), task.loss, task.autocast)
        round_.offer(smashed, labels)
    return round_.reply(half.state_dict(), auxiliary=head.state_dict())

"""CSE-FSL on the client; the strategy is ``fsl_sage_flwr.strategies.CseFsl``."""

import time

from flwr.app import Context, Message
from torch import Tensor

from ..messages import SmashedBatches, TrainReply, TrainRequest
from ..splitting import auxiliary_step
from ..task import SplitTask
from .client_state import ClientState
from .identity import identify
from .local_training import OPTIMIZER, KeptOptimizer, need, round_batches

AUXILIARY_OPTIMIZER = "auxiliary-optimizer"


def train(message: Message, context: Context, task: SplitTask) -> Message:
    """Train the client half and the head for one round on the head's loss.

    Keeps the smashed data of every q-th batch, taken before the batch's step, and replies
    with them, the client half and the head.
    """
    began, step_seconds = time.perf_counter(), 0.0
    request = TrainRequest.from_records(message.content)
    client, state = identify(context), ClientState(context)
    half, head = task.model.client, task.head
    half.load_state_dict(need(request.client_half, "client half"))
    head.load_state_dict(need(request.auxiliary, "auxiliary head"))
    optimizers = [
        KeptOptimizer(
            make(module.parameters()),
            state,
            name,
            keep=request.keep_optimizer_state,
            trained_before=request.trained_before,
        )
        for make, module, name in (
            (task.client_optimizer, half, OPTIMIZER),
            (task.auxiliary_optimizer, head, AUXILIARY_OPTIMIZER),
        )
    ]
    both = optimizers[0].optimizer, optimizers[1].optimizer

    kept: list[tuple[tuple[Tensor, ...], Tensor]] = []
    examples = 0
    for k, (inputs, labels) in enumerate(round_batches(task, client, request.round)):
        step_began = time.perf_counter()
        smashed = auxiliary_step(half, head, both, (inputs, labels), task.loss, task.autocast)
        step_seconds += time.perf_counter() - step_began
        examples += len(labels)
        if k % request.server_update_interval == 0:
            kept.append((smashed, labels))

    for optimizer in optimizers:
        optimizer.save()
    reply = TrainReply(
        round=request.round,
        num_examples=examples // task.local_epochs,
        optimizer_state_lost=any(optimizer.lost for optimizer in optimizers),
        seconds=time.perf_counter() - began,
        step_seconds=step_seconds,
        client_half=half.state_dict(),
        smashed=SmashedBatches.join(kept),
        auxiliary=head.state_dict(),
    )
    return Message(reply.to_records(), reply_to=message)

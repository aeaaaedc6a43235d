"""HERON-SFL on the client: forward passes alone train head and client half.

The strategy is ``fsl_sage_flwr.strategies.heron_sfl.HeronSfl``.
"""

from dataclasses import dataclass

import torch
from flwr.app import Context, Message
from torch import Tensor, nn
from torch.func import functional_call

from ..messages import TrainRequest, figure_field, measure_field
from ..nodes.loading import load_weights
from ..nodes.local_round import LocalRound
from ..splitting import as_sent, as_tensors
from ..task import Batch, SplitTask
from ..zeroth_order import estimate

TRAIN = "train.heron_sfl"


@dataclass(frozen=True, kw_only=True)
class HeronRequest(TrainRequest):
    """Train for one round, with estimates from perturbed forward passes.

    Attributes
    ----------
    perturbation_scale : float
        μ: length of a perturbation of the parameters.
    perturbations : int
        P: number of directions in the mean of an estimate.
    """

    perturbation_scale: float = measure_field()
    perturbations: int = figure_field(at_least=1)


def train(message: Message, context: Context, task: SplitTask) -> Message:
    """Train the client half and the head for one round by zeroth-order estimates.

    Keeps the smashed data of every q-th batch, of the weights before the batch's step, and
    replies with them, the client half and the head. No backward pass is done, and no
    activations are kept.
    """
    round_ = LocalRound(message, context, task, HeronRequest)
    request, half, head = round_.request, task.model.client, task.head
    load_weights(half, request.client_half, "client half", task)
    load_weights(head, request.auxiliary, "auxiliary head", task)
    optimizers = round_.client_optimizer(), round_.auxiliary_optimizer()
    local = LocalModel(half, head)
    for k, batch in enumerate(round_.batches()):
        place = request.round, round_.client.partition_id, k
        if round_.uploads_this_batch:
            round_.keep_for_upload(smashed_data(half, batch, task), batch[1])
        estimate(local, batch, task, request, place)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
    return round_.reply(task.weights_of(half), auxiliary=task.weights_of(head))


class LocalModel(nn.Module):
    """Client half and head, one after the other."""

    def __init__(self, half: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.front, self.head = half, head

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the head's scores."""
        scores: Tensor = self.head(*as_tensors(self.front(*inputs)))
        return scores


def smashed_data(half: nn.Module, batch: Batch, task: SplitTask) -> tuple[Tensor, ...]:
    """Return a batch's smashed data; running statistics stay where they are."""
    buffers = {name: buffer.clone() for name, buffer in half.named_buffers()}
    state = {**dict(half.named_parameters()), **buffers}
    with torch.no_grad(), task.autocast():
        smashed = as_tensors(functional_call(half, state, as_tensors(batch[0])))
    return tuple(as_sent(tensor) for tensor in smashed)


HANDLERS = {TRAIN: train}

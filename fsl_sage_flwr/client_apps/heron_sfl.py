"""HERON-SFL on the client: forward passes alone train head and client half.

The strategy is ``fsl_sage_flwr.strategies.heron_sfl.HeronSfl``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from flwr.app import Context, Message
from torch import Tensor, nn
from torch.func import functional_call

from ..messages import TrainRequest, figure_field, measure_field
from ..nodes.loading import load_weights
from ..nodes.local_round import LocalRound
from ..seeding import derive_seed
from ..splitting import as_tensors
from ..task import Batch, SplitTask

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
    return tuple(t.float() if t.is_floating_point() else t for t in smashed)


def estimate(
    local: LocalModel, batch: Batch, task: SplitTask, request: HeronRequest, place: tuple[int, ...]
) -> None:
    """Put the estimate of the gradient into the parameters' ``grad``.

    Along each of P directions u, standard normal over all parameters, the loss f is taken on
    either side: ``ĝ = 1/P Σ (f(θ + μu) - f(θ - μu)) / 2μ · u``. Directions are drawn again
    each time that they are needed, and never kept.

    Parameters
    ----------
    local : LocalModel
        Its parameters θ are left as they are; its running statistics move once.
    batch : tuple
        Inputs and labels.
    task : SplitTask
        The loss, and the seed.
    request : HeronRequest
        μ and P.
    place : tuple of int
        Round, client and batch: what the directions are drawn from.
    """
    trained = {n: p for n, p in local.named_parameters() if p.requires_grad}
    scale, count = request.perturbation_scale, request.perturbations
    for number in range(count):
        seed = derive_seed(task.seed, "perturbation", *place, number)
        losses = []
        for step in (scale, -scale):
            task.reseed("client", *place, number)  # the same dropout on either side
            moves_statistics = number == 0 and step > 0
            losses.append(loss_at(step, local, batch, task, seed, moves_statistics))
        slope = (losses[0] - losses[1]) / (2 * scale) / count
        for parameter, direction in zip(trained.values(), directions(trained, seed), strict=True):
            # What a failed batch left in grad does not belong to this estimate.
            earlier = None if number == 0 else parameter.grad
            part = slope * direction
            parameter.grad = part if earlier is None else earlier + part


def loss_at(
    step: float,
    local: LocalModel,
    batch: Batch,
    task: SplitTask,
    seed: int,
    moves_statistics: bool,
) -> float:
    """Return f(θ + step · u), with the direction u of a seed; θ itself is left as it is.

    Without ``moves_statistics`` running statistics are left as they are too.
    """
    trained = {n: p for n, p in local.named_parameters() if p.requires_grad}
    state = {
        name: parameter.detach() + step * direction
        for (name, parameter), direction in zip(
            trained.items(), directions(trained, seed), strict=True
        )
    }
    if not moves_statistics:
        state |= {name: buffer.clone() for name, buffer in local.named_buffers()}
    with torch.no_grad(), task.autocast():
        with task.objective.where(local, batch[1]):
            output = functional_call(local, state, as_tensors(batch[0]))
        return task.loss(output, batch[1]).item()


def directions(parameters: Mapping[str, nn.Parameter], seed: int) -> Iterator[Tensor]:
    """Draw a direction, parameter by parameter; on the CPU, alike for every device."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in parameters.values():
        drawn = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
        yield drawn.to(parameter.device)


HANDLERS = {TRAIN: train}

"""The server half's two passes for a batch whose loss is computed behind a client's tail."""

from dataclasses import dataclass

from torch import Tensor

from ...schedules import set_rate
from ...splitting import answered_step, client_forward, differentiable
from ..refused_work import NotFiniteWorkError
from ..round import Round
from .server_half import Gradients, ServerHalf

Hidden = tuple[Tensor, ...]


@dataclass(frozen=True)
class HalfwayPass:
    """A batch between the server half and a client's tail.

    Attributes
    ----------
    smashed : tuple of Tensor
        The client's smashed data, as leaves.
    hidden : tuple of Tensor
        What the half computes from them, with its graph.
    progress : float
        Rounds done when the batch is stepped on.
    """

    smashed: tuple[Tensor, ...]
    hidden: tuple[Tensor, ...]
    progress: float

    @property
    def to_send(self) -> Hidden:
        """The hidden states on the CPU, without their graph."""
        return tuple(tensor.detach().cpu() for tensor in self.hidden)


def forward_to_tail(
    server: ServerHalf,
    round_: Round,
    client: int,
    smashed: Hidden,
    *,
    exchange: int,
    progress: float,
) -> HalfwayPass:
    """Pass a batch through the half, for a client that has the model's tail.

    Parameters
    ----------
    server : ServerHalf
        The half, or the halves, of the clients.
    round_ : Round
        Records the time.
    client : int
        Partition id.
    smashed : tuple of Tensor
        The exchange's batch.
    exchange : int
        Number of the exchange in the round.
    progress : float
        Rounds done when the batch is stepped on, for the learning rate.

    Raises
    ------
    NotFiniteWorkError
        The hidden states are not finite.
    """
    half, _ = server.model_for(client)
    with round_.server_time(client):
        server.task.reseed("server", round_.number, client, exchange)
        leaves = differentiable(server.task.to_device(smashed))
        hidden = client_forward(half, leaves, server.task.autocast)
        problem = server.sound.problem_with_hidden(hidden)
    if problem is not None:
        raise NotFiniteWorkError(problem)
    return HalfwayPass(leaves, hidden, progress)


def step_from_tail(
    server: ServerHalf, round_: Round, client: int, halfway: HalfwayPass, gradients: Gradients
) -> Gradients:
    """Step on a batch whose hidden states have come back as gradients.

    Parameters
    ----------
    server : ServerHalf
        The half, or the halves, of the clients.
    round_ : Round
        Records the time.
    client : int
        Partition id.
    halfway : HalfwayPass
        Of :func:`forward_to_tail`; the half has taken no step since.
    gradients : tuple of Tensor
        Of the batch's mean loss with respect to the floating-point hidden states.

    Returns
    -------
    tuple of Tensor
        The same with respect to the floating-point smashed tensors, on the CPU.

    Raises
    ------
    NotFiniteWorkError
        The half after the step is not finite.
    """
    half, optimizer = server.model_for(client)
    with round_.server_time(client):
        set_rate(optimizer, server.task.server_schedule, halfway.progress)
        with server.untrained.watching(half, optimizer):
            found = answered_step(
                optimizer, halfway.smashed, halfway.hidden, server.task.to_device(gradients)
            )
        problem = server.sound.problem_with_server_half(half, optimizer)
        if problem is not None:
            raise NotFiniteWorkError(problem)
    return tuple(gradient.cpu() for gradient in found)

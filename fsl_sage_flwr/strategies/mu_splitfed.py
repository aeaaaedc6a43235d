"""MU-SplitFed: several steps of the server for one of a client, all without gradients."""

import math
from dataclasses import dataclass
from functools import partial
from typing import Unpack

import torch

from ..algorithm_options import ServerStepsOptions
from ..algorithm_registry import Algorithm, LineStyle
from ..client_apps.mu_splitfed import EXCHANGE, FLUSH, HANDLERS, PerturbedRequest
from ..client_apps.split_fed import ExchangeReply
from ..clock.phases import Down, RoundTrips, Up
from ..config import Options, arguments_of, check_arguments, setting
from ..config.strategy import StrategyOptions
from ..messages import SmashedBatches
from ..rounds.exchanges import ExchangeProtocol, Exchanges, order_losses
from ..rounds.metrics.round_summary import StepLoss
from ..rounds.refused_work import NotFiniteWorkError
from ..rounds.round import Round, RoundBody
from ..rounds.server.server_half import Gradients
from ..rounds.server.server_half_per_client import MOST_AT_WORK, ServerHalfPerClient
from ..rounds.split_strategy import SplitStrategy
from ..rounds.strategy_arguments import StrategySettings
from ..schedules import set_rate
from ..splitting import Cut, Workload
from ..task import SplitTask
from ..zeroth_order import estimate, loss_of

POINTS = 3  # smashed data of a sample go up at the weights, and moved to either side


@dataclass(frozen=True)
class MuSplitFedOptions(ServerStepsOptions):
    """Settings of MU-SplitFed."""

    perturbation_scale: float = setting(
        1e-3,
        "distance λ by which an estimate moves the parameters of either half",
        key="mu-splitfed.perturbation-scale",
        gt=0,
    )


class MuSplitFed(SplitStrategy):
    """MU-SplitFed (Liang et al., NeurIPS 2025, arXiv 2510.21155): unbalanced zeroth-order steps.

    Each batch is one exchange. A client sends its smashed data h, and h⁺ and h⁻ of its half moved
    by λ to either side along a random direction u. The server steps its half ``server_steps``
    times (τ) on h, each time by an estimate along a new direction, and answers with one number,
    the slope ``(f(h⁺) - f(h⁻)) / 2λ`` of the loss of the stepped half; the client steps along u by
    it. As in :class:`SplitFedV1`, the server has a half and an optimizer for each client, and
    averages the halves each round. No side does a backward pass.

    Where the code decides: a round has all of a client's batches, in the paper one; steps go
    through the task's optimizers, and the paper's are plain SGD; its global learning rate is
    Flower's ``FedAvgM`` without momentum (``fed_opt``); both sides of an estimate see the same
    dropout, and running statistics move once with each estimate.

    The client's half of the contract is ``fsl_sage_flwr.client_apps.mu_splitfed``.

    Parameters
    ----------
    task : SplitTask
        What is trained.
    server_steps : int
        τ: steps of the server half for each batch.
    perturbation_scale : float
        λ: distance by which parameters are moved.
    **settings
        Arguments of every strategy: :class:`StrategyArguments`.

    Raises
    ------
    ValueError
        ``server_steps`` is less than 1, or ``perturbation_scale`` is not above 0.
    """

    most_at_once = MOST_AT_WORK
    perturbations = 1

    def __init__(
        self,
        task: SplitTask,
        *,
        server_steps: int = MuSplitFedOptions.server_steps,
        perturbation_scale: float = MuSplitFedOptions.perturbation_scale,
        **settings: Unpack[StrategySettings],
    ) -> None:
        check_arguments(
            MuSplitFedOptions, server_steps=server_steps, perturbation_scale=perturbation_scale
        )
        keep = settings.get("keep_optimizer_state", StrategyOptions.keep_optimizer_state)
        self.server = ServerHalfPerClient(task, keep_optimizer_state=keep)
        super().__init__(task, {"server": self.server}, **settings)
        self.server_steps, self.perturbation_scale = server_steps, float(perturbation_scale)
        request = partial(PerturbedRequest, perturbation_scale=self.perturbation_scale)
        self._protocol = ExchangeProtocol(EXCHANGE, FLUSH, request, points=POINTS)

    def train_round(self, round_: Round) -> RoundBody:
        """Answer each client's batches as they arrive, then ask for its client half."""
        self.server.begin()
        exchanges = Exchanges(round_, round_.clients, 1, protocol=self._protocol)
        for client, reply in (yield from round_.finish_at_own_pace(exchanges.of_all())):
            with round_.transaction(client):
                exchanges.refuse_slow(client)
                exchanges.refuse_many(client, reply, others_known=False)
                slope = self._step_and_get_slope(round_, client, reply)
                exchanges.answer(client, slope)
            if client in round_.failures:
                self.server.discard(client)
            elif exchanges.are_left(client):
                round_.send(client, exchanges.exchange(client))
            else:
                self.server.finish(client)
                round_.send(client, exchanges.flush(client))
        order_losses(round_)

    def _step_and_get_slope(self, round_: Round, client: int, reply: ExchangeReply) -> Gradients:
        """Step a client's server half on one batch; return the loss's slope along its direction.

        Raises
        ------
        NotFiniteWorkError
            A loss, or the half after the steps, is not finite.
        """
        half, optimizer = self.server.model_for(client)
        number, scale, task = reply.exchange, self.perturbation_scale, self.task
        labels = reply.smashed.labels.to(task.device)
        at, plus, minus = (task.to_device(point) for point in points(reply.smashed))
        with round_.server_time(client):
            progress = round_.number + number / reply.batches
            set_rate(optimizer, task.server_schedule, progress)
            for step in range(self.server_steps):
                place = ("server", round_.number, client, number, step)
                estimate(half, (at, labels), task, self, place)
                optimizer.step()
                optimizer.zero_grad()
            losses = []
            for point in (plus, minus):
                task.reseed("slope", round_.number, client, number)
                buffers = {name: buffer.clone() for name, buffer in half.named_buffers()}
                losses.append(loss_of(half, buffers, (point, labels), task))
            problem = self.server.sound.problem_with_server_half(half, optimizer)
        loss = sum(losses) / 2
        if not math.isfinite(loss):
            problem = f"the server half's loss is {loss} on a batch of it"
        if problem is not None:
            raise NotFiniteWorkError(problem)
        round_.losses.append(StepLoss(client, loss, task.objective.count(labels), number))
        return (torch.tensor([(losses[0] - losses[1]) / (2 * scale)]),)


def points(smashed: SmashedBatches) -> list[tuple[torch.Tensor, ...]]:
    """Return the smashed data of the three points: at the weights, and on either side."""
    width = len(smashed.tensors) // POINTS
    return [smashed.tensors[k * width : (k + 1) * width] for k in range(POINTS)]


def _strategy(
    task: SplitTask, options: MuSplitFedOptions, settings: StrategySettings
) -> MuSplitFed:
    return MuSplitFed(task, **arguments_of(options, MuSplitFedOptions), **settings)


def _round_bytes(cut: Cut, work: Workload, options: Options) -> int:
    return 2 * cut.client_bytes + work.seen * POINTS * cut.smashed_bytes


ALGORITHM = Algorithm(
    name="mu_splitfed",
    label="MU-SplitFed",
    strategy=_strategy,
    handlers=HANDLERS,
    options=MuSplitFedOptions,
    round_bytes=_round_bytes,
    schedule=(
        Down(kinds=("client_half", "other")),
        RoundTrips(forward=POINTS, backward=0, server=2, per="server-steps", answer=2),
        Up(),
    ),
    style=LineStyle("#882255", "<", (0, (2.0, 1.0))),
)

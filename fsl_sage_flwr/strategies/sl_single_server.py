"""SplitFed V2: one server half for all clients."""

import random
from dataclasses import dataclass
from typing import Unpack

from ..algorithm_options import LABELS_STAY, ExchangeOptions, exchanged_bytes
from ..algorithm_registry import Algorithm, LineStyle
from ..client_apps import split_fed_tail
from ..client_apps.split_fed import HANDLERS
from ..client_apps.split_fed_tail import FrontReply
from ..clock.phases import Down, RoundTrips, Up
from ..config import arguments_of, check_arguments, setting
from ..messages import TrainReply
from ..rounds.exchanges import check_batches_per_exchange, record_loss_of_tail
from ..rounds.exchanges_in_step import ExchangesInStep, Step
from ..rounds.instruction import Instruction
from ..rounds.round import Round, RoundBody
from ..rounds.server.server_half import OneServerHalf
from ..rounds.server.tail_passes import Hidden, forward_to_tail, step_from_tail
from ..rounds.split_strategy import SplitStrategy
from ..rounds.strategy_arguments import StrategySettings
from ..seeding import derive_seed
from ..task import SplitTask

SERVER_ORDERS = ("batch", "client")


class SplitFedV2(SplitStrategy):
    """SplitFed V2 (Thapa et al., AAAI 2022, arXiv 2004.12088): one server half for all.

    Batches are exchanged for their gradients as in :class:`SplitFedV1`. The clients' batches
    of the same exchange are taken one after the other, their order shuffled by the run's seed.

    When a client is lost after steps on some of its batches, the server half is restored, and
    the others' exchanges start again: steps on half of a client's batches cannot be told from
    the rest. The batches of a client lost after its last one all count.

    If the model has a tail, an exchange takes two trips, as in :class:`SplitFedV1`. The half is
    stepped on one client's batch before the next client's is passed through it, so clients take
    their second trip one after the other.

    The client's half of the contract is ``fsl_sage_flwr.client_apps.split_fed``, with a tail also
    ``split_fed_tail``.

    Parameters
    ----------
    task : SplitTask
        What is trained.
    batches_per_exchange : int
        As of :class:`SplitFedV1`.
    server_order : {"batch", "client"}
        ``"client"`` trains with one whole client after the other, as the reference does.
    server_steps : int
        τ: steps of the server half on each batch; the answer is the last step's gradient.
    **settings
        Arguments of every strategy: :class:`StrategyArguments`.

    Raises
    ------
    ValueError
        A count is less than 1, or a word is not valid.
    """

    private_steps = True
    labels_may_stay = True

    def __init__(
        self,
        task: SplitTask,
        *,
        batches_per_exchange: int = ExchangeOptions.batches_per_exchange,
        server_order: str = SERVER_ORDERS[0],
        server_steps: int = ExchangeOptions.server_steps,
        **settings: Unpack[StrategySettings],
    ) -> None:
        check_arguments(SplitFedV2Options, server_order=server_order)
        check_batches_per_exchange(task, batches_per_exchange)
        self.server = OneServerHalf(task, server_steps)
        super().__init__(task, {"server": self.server}, **settings)
        self.batches_per_exchange = batches_per_exchange
        self.server_order = server_order

    def train_round(self, round_: Round) -> RoundBody:
        """Exchange every batch of the round, then ask for the client halves."""
        groups = [round_.clients]
        if self.server_order == "client":
            groups = [[c] for c in self._shuffled(round_, round_.clients, "whole clients")]
        last = dict[int, Instruction[TrainReply]]()
        for place, clients in enumerate(groups):
            exchanges = ExchangesInStep(
                round_, self.server, clients, self.batches_per_exchange,
                start=place / len(groups), length=1 / len(groups),
            )  # fmt: skip
            for step in exchanges:
                self._answer(round_, step)
            last |= exchanges.last
        for client, reply in (yield from round_.finish(last)):
            record_loss_of_tail(round_, client, reply)

    def _answer(self, round_: Round, step: Step) -> None:
        """Step on each client's batches, and answer it with its gradients."""
        for client in self._shuffled(round_, list(step.replies), step.number):
            if step.is_undone:
                break
            step.trained_on.add(client)
            with round_.transaction(client):
                reply = step.replies[client]
                progress = step.exchanges.progress(client, reply)
                if isinstance(reply, FrontReply):
                    self._answer_by_tail(round_, step, client, reply.smashed, progress[0])
                    continue
                gradients = self.server.step_and_get_gradients(
                    round_, client, reply.smashed, exchange=step.number, progress=progress
                )
                step.exchanges.answer(client, gradients)

    def _answer_by_tail(
        self, round_: Round, step: Step, client: int, smashed: Hidden, progress: float
    ) -> None:
        """Step on a batch with the gradients from the client's tail, and answer with its own."""
        halfway = forward_to_tail(
            self.server, round_, client, smashed, exchange=step.number, progress=progress
        )
        instruction = step.exchanges.tail(client, halfway.to_send)
        for _, reply in round_.ask({client: instruction}):  # none if the client is lost
            gradients = step_from_tail(self.server, round_, client, halfway, reply.gradients)
            step.exchanges.answer(client, gradients)

    def _shuffled(self, round_: Round, clients: list[int], purpose: int | str) -> list[int]:
        draw = random.Random(derive_seed(self.task.seed, "order", round_.number, purpose))
        return draw.sample(clients, len(clients))


@dataclass(frozen=True)
class SplitFedV2Options(ExchangeOptions):
    """Settings of SplitFed V2."""

    server_order: str = setting(
        SERVER_ORDERS[0],
        "order of the server half's steps: `batch` shuffles the clients at each batch, `client` "
        "trains one whole client after the other",
        group="splitfed",
        formerly=("server-order",),
        choices=SERVER_ORDERS,
    )


def _strategy(
    task: SplitTask, options: SplitFedV2Options, settings: StrategySettings
) -> SplitFedV2:
    return SplitFedV2(task, **arguments_of(options, SplitFedV2Options), **settings)


ALGORITHM = Algorithm(
    name="sl_single_server",
    label="SplitFed V2",
    strategy=_strategy,
    handlers={**HANDLERS, **split_fed_tail.HANDLERS},
    options=SplitFedV2Options,
    round_bytes=exchanged_bytes,
    private_steps=True,
    schedule=(
        Down(kinds=("client_half", "other")),
        RoundTrips(
            per="server-steps",
            in_step=True,
            size="splitfed.batches-per-exchange",
            twice=LABELS_STAY,
            one_by_one=("splitfed.server-order", SERVER_ORDERS[1]),
        ),
        Up(),
    ),
    labels_may_stay=True,
    style=LineStyle("#56B4E9", "^", "-."),
)

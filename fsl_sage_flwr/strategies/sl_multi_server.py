"""SplitFed V1: a server half per client, averaged each round."""

from typing import Unpack

from ..algorithm_options import LABELS_STAY, ExchangeOptions, exchanged_bytes
from ..algorithm_registry import Algorithm, LineStyle
from ..client_apps import split_fed_tail
from ..client_apps.split_fed import HANDLERS
from ..client_apps.split_fed_tail import FrontReply, TailReply
from ..clock.phases import Down, RoundTrips, Up
from ..config import arguments_of
from ..config.strategy import StrategyOptions
from ..rounds.exchanges import (
    AnyReply,
    Exchanges,
    check_batches_per_exchange,
    order_losses,
    record_loss_of_tail,
)
from ..rounds.round import Round, RoundBody
from ..rounds.server.server_half_per_client import MOST_AT_WORK, ServerHalfPerClient
from ..rounds.server.tail_passes import HalfwayPass, forward_to_tail, step_from_tail
from ..rounds.split_strategy import SplitStrategy
from ..rounds.strategy_arguments import StrategySettings
from ..task import SplitTask


class SplitFedV1(SplitStrategy):
    """SplitFed V1 (Thapa et al., AAAI 2022, arXiv 2004.12088): one server half per client.

    Each batch is one exchange: gradients of the batch before down, smashed data of the next
    up; the last gradients go down in the message that is answered with the client half. No
    client waits for another until its round is over, as nothing is shared before. The halves
    are averaged each round: equal to FedAvg of the whole model on the same batches. The server
    holds a copy of the server half, and its optimizer's state, for each client. The batches of a
    client that is lost in a round, and the steps of its optimizer, are discarded.

    If the model has a tail, an exchange takes two trips: smashed data up and hidden states down,
    then gradients of the hidden states up and gradients of the smashed data down. Labels stay on
    the client, and so does the loss; tails are averaged with the client halves. A half whose
    hidden states are on their way stays in memory.

    The client's half of the contract is ``fsl_sage_flwr.client_apps.split_fed``, with a tail also
    ``split_fed_tail``.

    Parameters
    ----------
    task : SplitTask
        What is trained.
    batches_per_exchange : int
        Batches that go forward with the same weights in one exchange; their gradients
        are stepped through one after the other. 1 is exact. More makes a round of fewer
        messages, for links on which a message costs seconds, at the price of gradients
        that are up to that many steps old.
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
    most_at_once = MOST_AT_WORK

    def __init__(
        self,
        task: SplitTask,
        *,
        batches_per_exchange: int = ExchangeOptions.batches_per_exchange,
        server_steps: int = ExchangeOptions.server_steps,
        **settings: Unpack[StrategySettings],
    ) -> None:
        check_batches_per_exchange(task, batches_per_exchange)
        keep = settings.get("keep_optimizer_state", StrategyOptions.keep_optimizer_state)
        self.server = ServerHalfPerClient(task, keep_optimizer_state=keep, steps=server_steps)
        super().__init__(task, {"server": self.server}, **settings)
        self.batches_per_exchange = batches_per_exchange

    def train_round(self, round_: Round) -> RoundBody:
        """Answer each client's batches as they arrive, then ask for its client half."""
        self.server.begin()
        exchanges = Exchanges(round_, round_.clients, self.batches_per_exchange)
        halfway = dict[int, HalfwayPass]()
        for client, reply in (yield from round_.finish_at_own_pace(exchanges.of_all())):
            with round_.transaction(client):
                exchanges.refuse_slow(client)
                if isinstance(reply, TailReply):
                    passed = halfway.pop(client)
                    gradients = step_from_tail(self.server, round_, client, passed, reply.gradients)
                    self.server.release(client)
                    exchanges.answer(client, gradients)
                else:
                    exchanges.refuse_many(client, reply, others_known=False)
                    self._take(round_, exchanges, client, reply, halfway)
            if client in round_.failures:
                self.server.discard(client)
                halfway.pop(client, None)
            elif client in halfway:
                round_.send(client, exchanges.tail(client, halfway[client].to_send))
            elif exchanges.are_left(client):
                round_.send(client, exchanges.exchange(client))
            else:
                self.server.finish(client)
                round_.send(client, exchanges.flush(client))
        order_losses(round_)
        for client, last in round_.served.items():
            record_loss_of_tail(round_, client, last)

    def _take(
        self,
        round_: Round,
        exchanges: Exchanges,
        client: int,
        reply: AnyReply,
        halfway: dict[int, HalfwayPass],
    ) -> None:
        """Answer a client's batch with its gradients, or pass it through the half for its tail."""
        number, progress = exchanges.number_of(client), exchanges.progress(client, reply)
        if isinstance(reply, FrontReply):
            self.server.hold(client)
            halfway[client] = forward_to_tail(
                self.server, round_, client, reply.smashed, exchange=number, progress=progress[0]
            )
            return
        gradients = self.server.step_and_get_gradients(
            round_, client, reply.smashed, exchange=number, progress=progress
        )
        exchanges.answer(client, gradients)


def _strategy(task: SplitTask, options: ExchangeOptions, settings: StrategySettings) -> SplitFedV1:
    return SplitFedV1(task, **arguments_of(options, ExchangeOptions), **settings)


ALGORITHM = Algorithm(
    name="sl_multi_server",
    label="SplitFed V1",
    strategy=_strategy,
    handlers={**HANDLERS, **split_fed_tail.HANDLERS},
    options=ExchangeOptions,
    round_bytes=exchanged_bytes,
    private_steps=True,
    schedule=(
        Down(kinds=("client_half", "other")),
        RoundTrips(per="server-steps", size="splitfed.batches-per-exchange", twice=LABELS_STAY),
        Up(),
    ),
    labels_may_stay=True,
    style=LineStyle("#E69F00", "s", "--"),
)

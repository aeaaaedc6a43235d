"""SplitFed V1: a server half per client, averaged each round."""

from typing import Unpack

from ..algorithm_options import ExchangeOptions, exchanged_bytes
from ..algorithm_registry import Algorithm, LineStyle
from ..client_apps.split_fed import HANDLERS
from ..clock.phases import Down, RoundTrips, Up
from ..config import arguments_of
from ..config.strategy import StrategyOptions
from ..rounds.exchanges import Exchanges, check_batches_per_exchange
from ..rounds.round import Round, RoundBody
from ..rounds.server.server_half_per_client import MOST_AT_WORK, ServerHalfPerClient
from ..rounds.settings import StrategySettings
from ..rounds.split_strategy import SplitStrategy
from ..task import SplitTask


class SplitFedV1(SplitStrategy):
    """SplitFed V1 (Thapa et al., AAAI 2022, arXiv 2004.12088): one server half per client.

    Each batch is one exchange: gradients of the batch before down, smashed data of the next
    up; the last gradients go down in the message that is answered with the client half. No
    client waits for another until its round is over, as nothing is shared before. The halves
    are averaged each round: equal to FedAvg of the whole model on the same batches. The server
    holds a copy of the server half, and its optimizer's state, for each client. The batches of a
    client that is lost in a round, and the steps of its optimizer, are discarded.

    The client's half of the contract is ``fsl_sage_flwr.client_apps.split_fed``.

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
        Arguments of :class:`SplitStrategy`.

    Raises
    ------
    ValueError
        A count is less than 1, or a word is not valid.
    """

    private_steps = True
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
        for client, reply in (yield from round_.finish_at_own_pace(exchanges.of_all())):
            with round_.transaction(client):
                exchanges.refuse_slow(client)
                exchanges.refuse_many(client, reply, others_known=False)
                gradients = self.server.step_and_get_gradients(
                    round_,
                    client,
                    reply.smashed,
                    exchange=exchanges.number_of(client),
                    progress=exchanges.progress(client, reply),
                )
                exchanges.answer(client, gradients)
            if client in round_.failures:
                self.server.discard(client)
            elif exchanges.are_left(client):
                round_.send(client, exchanges.exchange(client))
            else:
                self.server.finish(client)
                round_.send(client, exchanges.flush(client))
        # The order of arrival must not decide the order in which losses are added up.
        losses = [loss for loss in round_.losses if loss.client in round_.served]
        round_.losses[:] = sorted(losses, key=lambda loss: (loss.exchange, loss.client))


def _strategy(task: SplitTask, options: ExchangeOptions, settings: StrategySettings) -> SplitFedV1:
    return SplitFedV1(task, **arguments_of(options, ExchangeOptions), **settings)


ALGORITHM = Algorithm(
    name="sl_multi_server",
    label="SplitFed V1",
    strategy=_strategy,
    handlers=HANDLERS,
    options=ExchangeOptions,
    round_bytes=exchanged_bytes,
    private_steps=True,
    schedule=(
        Down(kinds=("client_half", "other")),
        RoundTrips(per="server-steps", size="splitfed.batches-per-exchange"),
        Up(),
    ),
    style=LineStyle("#E69F00", "s", "--"),
)

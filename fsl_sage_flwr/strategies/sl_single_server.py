"""SplitFed V2: one server half for all clients."""

import logging
import random
from dataclasses import dataclass
from typing import Unpack

from ..client_apps.split_fed import HANDLERS
from ..config import check_arguments, setting
from ..messages import TrainReply
from ..registry import Algorithm, LineStyle
from ..rounds.question import Question, Questions
from ..rounds.round import Round
from ..rounds.server.server_half import OneServerHalf
from ..rounds.settings import StrategySettings, check_batches_per_exchange
from ..seeding import derive_seed
from ..task import SplitTask
from .common_options import ExchangeOptions, exchanged_bytes
from .exchanges import Exchanges
from .split_strategy import SplitStrategy

SERVER_ORDERS = ("batch", "client")

log = logging.getLogger("flwr.fsl_sage")


class SplitFedV2(SplitStrategy):
    """SplitFed V2 (Thapa et al., AAAI 2022, arXiv 2004.12088): one server half for all.

    Batches are exchanged for their gradients as in :class:`SplitFedV1`. The clients' batches
    of the same exchange are taken one after the other, their order shuffled by the run's seed.

    When a client is lost whose batches the server half has been stepped on, the server half
    is put back, and the others' exchanges begin again: what was learnt from half a client
    cannot be told from the rest. A client lost after its last batch leaves all of them.

    The client's half of the contract is ``fsl_sage_flwr.client_apps.split_fed``.

    Parameters
    ----------
    task : SplitTask
        What is trained.
    batches_per_exchange : int
        As of :class:`SplitFedV1`.
    server_order : {"batch", "client"}
        ``"client"`` trains with one whole client after the other, as the reference does.
    **settings
        Arguments of :class:`SplitStrategy`.

    Raises
    ------
    ValueError
        A count is less than 1, or a word is not valid.
    """

    private_steps = True

    def __init__(
        self,
        task: SplitTask,
        *,
        batches_per_exchange: int = ExchangeOptions.batches_per_exchange,
        server_order: str = SERVER_ORDERS[0],
        **settings: Unpack[StrategySettings],
    ) -> None:
        check_arguments(SplitFedV2Options, server_order=server_order)
        check_batches_per_exchange(task, batches_per_exchange)
        self.server = OneServerHalf(task)
        super().__init__(task, {"server": self.server}, **settings)
        self.batches_per_exchange = batches_per_exchange
        self.server_order = server_order

    def begin(self, round_: Round) -> Questions[TrainReply]:
        """Exchange every batch of the round; ask for the client halves."""
        groups = [round_.clients]
        if self.server_order == "client":
            groups = [
                [client] for client in self._shuffled(round_, round_.clients, "whole clients")
            ]
        flushes: dict[int, Question[TrainReply]] = {}
        for i, clients in enumerate(groups):
            flushes.update(self._exchange(round_, clients, i / len(groups), 1 / len(groups)))
        return flushes

    def _exchange(
        self, round_: Round, clients: list[int], start: float, length: float
    ) -> Questions[TrainReply]:
        """Exchange every batch of some clients, again without those that are lost midway.

        ``start`` and ``length`` say which part of the round this is.
        """
        # The first group of a round begins where the round does: that copy is there already.
        before = round_.saved["server"] if start == 0 else self.server.snapshot()
        losses = len(round_.losses)
        attempt = 0
        while True:
            exchanges = Exchanges(round_, clients, self.batches_per_exchange, attempt)
            stepped = set[int]()
            while (replies := exchanges.ask()) and stepped <= set(exchanges.left):
                for client in self._shuffled(round_, list(replies), exchanges.number):
                    reply = replies[client]
                    stepped.add(client)
                    gradients = self.server.answer(
                        round_,
                        client,
                        reply.smashed,
                        exchange=exchanges.number,
                        progress=exchanges.progress(reply, start, length),
                    )
                    if gradients is None:
                        exchanges.drop(client)
                        break
                    exchanges.answer(client, gradients)
                exchanges.leave_out_the_slow()
                if not stepped <= set(exchanges.left):
                    break
            if stepped <= set(exchanges.left):
                return exchanges.flushes()
            log.warning(
                "round %d: clients %s begin again, without the batches of %s",
                round_.number + 1, exchanges.left, sorted(stepped - set(exchanges.left)),
            )  # fmt: skip
            self.server.restore(before)
            del round_.losses[losses:]
            clients, attempt = exchanges.left, attempt + 1

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
        key="splitfed.server-order",
        formerly=("server-order",),
        choices=SERVER_ORDERS,
    )


def _strategy(
    task: SplitTask, options: SplitFedV2Options, settings: StrategySettings
) -> SplitFedV2:
    return SplitFedV2(
        task,
        batches_per_exchange=options.batches_per_exchange,
        server_order=options.server_order,
        **settings,
    )


ALGORITHM = Algorithm(
    name="sl_single_server",
    label="SplitFed V2",
    strategy=_strategy,
    handlers=HANDLERS,
    options=SplitFedV2Options,
    round_bytes=exchanged_bytes,
    private_steps=True,
    style=LineStyle("#56B4E9", "^", "-."),
)

"""SplitFed V2: one server half for all clients."""

import logging
import random
from dataclasses import dataclass
from itertools import count
from typing import Unpack

from ..algorithm_options import ExchangeOptions, exchanged_bytes
from ..algorithm_registry import Algorithm, LineStyle
from ..client_apps.split_fed import HANDLERS
from ..config import arguments_of, check_arguments, setting
from ..messages import TrainReply
from ..rounds.exchanges import Exchanges, check_batches_per_exchange
from ..rounds.instruction import Instruction, Instructions
from ..rounds.round import Round, RoundBody
from ..rounds.server.server_half import OneServerHalf
from ..rounds.settings import StrategySettings
from ..rounds.split_strategy import SplitStrategy
from ..seeding import derive_seed
from ..state import Transaction
from ..task import SplitTask

SERVER_ORDERS = ("batch", "client")

log = logging.getLogger("flwr.fsl_sage")


class SplitFedV2(SplitStrategy):
    """SplitFed V2 (Thapa et al., AAAI 2022, arXiv 2004.12088): one server half for all.

    Batches are exchanged for their gradients as in :class:`SplitFedV1`. The clients' batches
    of the same exchange are taken one after the other, their order shuffled by the run's seed.

    When a client is lost after steps on some of its batches, the server half is restored, and
    the others' exchanges start again: steps on half of a client's batches cannot be told from
    the rest. The batches of a client lost after its last one all count.

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

    def train_round(self, round_: Round) -> RoundBody:
        """Exchange every batch of the round, then ask for the client halves."""
        groups = [round_.clients]
        if self.server_order == "client":
            groups = [[c] for c in self._shuffled(round_, round_.clients, "whole clients")]
        last = dict[int, Instruction[TrainReply]]()
        for place, clients in enumerate(groups):
            last |= self._exchange_all(round_, clients, place / len(groups), 1 / len(groups))
        yield from round_.finish(last)

    def _exchange_all(
        self, round_: Round, clients: list[int], start: float, length: float
    ) -> Instructions[TrainReply]:
        """Exchange every batch of some clients, again without those that are lost midway.

        ``start`` and ``length`` are the part of the round that this takes. The last messages
        are returned.
        """
        undo = round_.undo_states  # the first group starts where the round does
        if start > 0:
            undo = Transaction({"server": self.server})
            undo.save()
        losses = len(round_.losses)
        for attempt in count():
            exchanges = Exchanges(
                round_, clients, self.batches_per_exchange, attempt=attempt, start=start,
                length=length,
            )  # fmt: skip
            stepped = self._exchange_in_step(round_, exchanges)
            lost = sorted(stepped - set(exchanges.left))
            if not lost:
                break
            log.warning(
                "round %d: clients %s begin again, without the batches of %s",
                round_.number + 1, exchanges.left, lost,
            )  # fmt: skip
            undo.restore("server")
            del round_.losses[losses:]
            clients = exchanges.left
        return {client: exchanges.flush(client) for client in exchanges.left}

    def _exchange_in_step(self, round_: Round, exchanges: Exchanges) -> set[int]:
        """Exchange batches until none is left, or a client is lost after steps on its batches.

        Returns
        -------
        set of int
            Clients whose batches the server half was stepped on.
        """
        stepped, number = set[int](), 0
        while replies := dict(round_.ask(exchanges.of_all())):
            for client, reply in replies.items():
                with round_.transaction(client):
                    exchanges.refuse_many(client, reply, others_known=True)
            valid = [client for client in replies if client not in round_.failures]
            for client in self._shuffled(round_, valid, number):
                if not stepped <= set(exchanges.left):
                    break
                stepped.add(client)
                with round_.transaction(client):
                    gradients = self.server.step_and_get_gradients(
                        round_,
                        client,
                        replies[client].smashed,
                        exchange=number,
                        progress=exchanges.progress(client, replies[client]),
                    )
                    exchanges.answer(client, gradients)
            for client in exchanges.active:
                with round_.transaction(client):
                    exchanges.refuse_slow(client)
            if not stepped <= set(exchanges.left):
                break
            number += 1
        return stepped

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
    handlers=HANDLERS,
    options=SplitFedV2Options,
    round_bytes=exchanged_bytes,
    private_steps=True,
    style=LineStyle("#56B4E9", "^", "-."),
)

"""SplitFed V1: a server half per client, averaged each round."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Unpack

from ..client_apps.split_fed import HANDLERS, ExchangeReply
from ..config.strategy import StrategyOptions
from ..messages import TrainReply
from ..registry import Algorithm, LineStyle
from ..rounds.question import Question, Questions
from ..rounds.round import Round
from ..rounds.server.server_half import MOST_AT_WORK, Gradients, ServerHalfPerClient
from ..rounds.settings import StrategySettings, check_batches_per_exchange
from ..task import SplitTask
from .common_options import ExchangeOptions, exchanged_bytes
from .exchange_questions import ExchangeQuestions
from .split_strategy import SplitStrategy


class SplitFedV1(SplitStrategy):
    """SplitFed V1 (Thapa et al., AAAI 2022, arXiv 2004.12088): one server half per client.

    Each batch is one exchange: gradients of the batch before down, smashed data of the next
    up; the last gradients go down in the message that is answered with the client half. No
    client waits for another until its round is over, as nothing is shared before. The halves
    are averaged each round: equal to FedAvg of the whole model on the same batches. The server
    holds a copy of the server half, and its optimizer's state, for every client. Of a client
    that is lost in a round nothing stays here, not the steps of its optimizer either.

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
        **settings: Unpack[StrategySettings],
    ) -> None:
        check_batches_per_exchange(task, batches_per_exchange)
        keep = settings.get("keep_optimizer_state", StrategyOptions.keep_optimizer_state)
        self.server = ServerHalfPerClient(task, keep_optimizer_state=keep)
        super().__init__(task, {"server": self.server}, **settings)
        self.batches_per_exchange = batches_per_exchange

    def begin(self, round_: Round) -> Questions[Any]:
        """Ask each client for its first batch; the others, and its client half, follow."""
        self.server.begin()
        questions = ExchangeQuestions(round_, self.batches_per_exchange)

        def exchange(
            client: int, number: int = 0, gradients: Gradients = (), batches: int | None = None
        ) -> Question[ExchangeReply]:
            question = questions.exchange(client, number, gradients, batches)
            return replace(question, follow_up=partial(answer, client, number))

        def answer(client: int, number: int, reply: ExchangeReply) -> Question[Any] | None:
            progress, gradients = questions.progress(number, reply), None
            # Others may not have said yet how many they have: what counts is how many it has sent.
            sent = min((number + 1) * self.batches_per_exchange, reply.batches)
            if not (questions.leave_out_if_slow(client) or round_.leave_out_if_many(client, sent)):
                gradients = self.server.answer(
                    round_, client, reply.smashed, exchange=number, progress=progress
                )
            if gradients is None:
                self.server.drop(client)
                return None
            if questions.are_left(number, reply.batches):
                return exchange(client, number + 1, gradients, reply.batches)
            self.server.finish(client)
            return questions.flush(client, number + 1, gradients)

        return {client: exchange(client) for client in round_.clients}

    def end(self, round_: Round, replies: Mapping[int, TrainReply]) -> None:
        """Average the server halves of the clients whose replies count."""
        # Who was quick does not decide in which order losses are added up.
        losses = sorted(round_.losses, key=lambda loss: (loss.exchange, loss.client))
        round_.losses = [loss for loss in losses if loss.client in replies]
        self.server.average(round_.weights, replies)


def _strategy(task: SplitTask, options: ExchangeOptions, settings: StrategySettings) -> SplitFedV1:
    return SplitFedV1(task, batches_per_exchange=options.batches_per_exchange, **settings)


ALGORITHM = Algorithm(
    name="sl_multi_server",
    label="SplitFed V1",
    strategy=_strategy,
    handlers=HANDLERS,
    options=ExchangeOptions,
    round_bytes=exchanged_bytes,
    private_steps=True,
    style=LineStyle("#E69F00", "s", "--"),
)

"""CycleSL: the server half is trained on batches drawn across clients, and answers afterwards."""

from collections.abc import Mapping
from typing import Unpack

from ..algorithm_options import ExchangeOptions, exchanged_bytes
from ..algorithm_registry import Algorithm, LineStyle
from ..client_apps.split_fed import HANDLERS, ExchangeReply
from ..clock.phases import Down, RoundTrips, Up
from ..config import arguments_of
from ..diverged import DivergedError
from ..rounds.exchanges import check_batches_per_exchange
from ..rounds.exchanges_in_step import ExchangesInStep, Step
from ..rounds.round import Round, RoundBody
from ..rounds.server.server_half import OneServerHalf
from ..rounds.server.smashed_pool import batches_across, named_tensors
from ..rounds.split_strategy import SplitStrategy
from ..rounds.strategy_arguments import StrategySettings
from ..seeding import derive_seed
from ..state import Transaction
from ..task import SplitTask


class CycleSl(SplitStrategy):
    """CycleSL (Wang et al., WACV 2026, arXiv 2511.18611): server half first, then the clients.

    All clients' smashed data of one exchange are one set of samples (the paper's feature
    dataset): the server half is stepped on batches drawn from it across clients, ``server_steps``
    times per sample, and then answers each client with the gradients of the updated half, which
    those do not change. When a client is lost after steps on its samples, the others' exchanges
    start again, as in :class:`SplitFedV2`.

    The client's half of the contract is ``fsl_sage_flwr.client_apps.split_fed``.

    Parameters
    ----------
    task : SplitTask
        What is trained.
    batches_per_exchange : int
        As of :class:`SplitFedV1`.
    server_steps : int
        τ: passes of the server half over the samples of one exchange.
    **settings
        Arguments of every strategy: :class:`StrategyArguments`.

    Raises
    ------
    ValueError
        A count is less than 1.
    """

    private_steps = True

    def __init__(
        self,
        task: SplitTask,
        *,
        batches_per_exchange: int = ExchangeOptions.batches_per_exchange,
        server_steps: int = ExchangeOptions.server_steps,
        **settings: Unpack[StrategySettings],
    ) -> None:
        check_batches_per_exchange(task, batches_per_exchange)
        self.server = OneServerHalf(task, server_steps)
        super().__init__(task, {"server": self.server}, **settings)
        self.batches_per_exchange = batches_per_exchange

    def train_round(self, round_: Round) -> RoundBody:
        """Exchange every batch of the round, then ask for the client halves."""
        exchanges = ExchangesInStep(round_, self.server, round_.clients, self.batches_per_exchange)
        undo = Transaction({"server": self.server})
        for step in exchanges:
            for client, reply in self._step(round_, step, undo).items():
                with round_.transaction(client):
                    gradients = self.server.gradients(
                        round_, client, reply.smashed, exchange=step.number
                    )
                    step.exchanges.answer(client, gradients)
        yield from round_.finish(exchanges.last)

    def _step(self, round_: Round, step: Step, undo: Transaction) -> Mapping[int, ExchangeReply]:
        """Step on every sample of an exchange; return the replies that it was stepped on.

        When the half is not finite afterwards, it is restored and each client's batches are tried
        alone: those that leave no finite half exclude their client, and the others' count.

        Raises
        ------
        DivergedError
            No client's batches alone are the cause.
        """
        # With labels: a model with a tail is refused.
        replies = {
            c: reply for c, reply in step.replies.items() if isinstance(reply, ExchangeReply)
        }
        undo.save()
        try:
            self._step_across(round_, step, replies)
        except DivergedError:
            undo.restore()
            for client, reply in replies.items():
                with round_.transaction(client):
                    self.server.try_batches(round_, client, reply.smashed)
            replies = {c: reply for c, reply in replies.items() if c not in round_.failures}
            if len(replies) == len(step.replies):
                raise
            self._step_across(round_, step, replies)
        step.trained_on.update(replies)
        return replies

    def _step_across(self, round_: Round, step: Step, replies: Mapping[int, ExchangeReply]) -> None:
        """Step on every sample of the replies, at the longest client's learning rate."""
        longest = max(replies, key=lambda client: replies[client].batches, default=None)
        if longest is None:
            return
        progress = step.exchanges.progress(longest, replies[longest])
        start, length = progress[0] - round_.number, len(progress) / replies[longest].batches
        sources = {client: named_tensors(reply.smashed) for client, reply in replies.items()}
        samples = {client: len(reply.smashed.labels) for client, reply in replies.items()}
        size = max(size for reply in replies.values() for size in reply.smashed.batch_sizes)
        passes = self.server.steps
        for k in range(passes):
            place = (round_.number, step.number, *((k,) if k else ()))
            seed = derive_seed(self.task.seed, "across", *place)
            self.server.step_on_pool(
                round_,
                batches_across(sources, samples, size, seed),
                start=start + length * k / passes,
                length=length / passes,
            )


def _strategy(task: SplitTask, options: ExchangeOptions, settings: StrategySettings) -> CycleSl:
    return CycleSl(task, **arguments_of(options, ExchangeOptions), **settings)


ALGORITHM = Algorithm(
    name="cycle_sl",
    label="CycleSL",
    strategy=_strategy,
    handlers=HANDLERS,
    options=ExchangeOptions,
    round_bytes=exchanged_bytes,
    private_steps=True,
    schedule=(
        Down(kinds=("client_half", "other")),
        # Answers are gradients of the smashed data alone, after the steps on all samples.
        RoundTrips(
            per="server-steps", answer=2, in_step=True, size="splitfed.batches-per-exchange"
        ),
        Up(),
    ),
    style=LineStyle("#F0E442", "p", (0, (5.0, 1.0))),
)

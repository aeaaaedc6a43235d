"""CycleSL: the server half is trained on batches drawn across clients, and answers afterwards."""

from collections.abc import Mapping, Set
from typing import Unpack

from ..algorithm_options import ExchangeOptions, exchanged_bytes
from ..algorithm_registry import Algorithm, LineStyle
from ..client_apps.split_fed import HANDLERS, ExchangeReply
from ..config import arguments_of
from ..rounds.exchanges import Exchanges
from ..rounds.round import Round
from ..rounds.server.smashed_pool import batches_across, named_tensors
from ..rounds.settings import StrategySettings
from ..seeding import derive_seed
from ..task import SplitTask
from .sl_single_server import SplitFedV2


class CycleSl(SplitFedV2):
    """CycleSL (Wang et al., WACV 2026, arXiv 2511.18611): server half first, then the clients.

    All clients' smashed data of one exchange are one set of samples (the paper's feature
    dataset): the server half is stepped on batches drawn from it across clients, once per sample,
    and then answers each client with the gradients of the updated half, which those do not
    change. A lost client is treated as in :class:`SplitFedV2`.

    The client's half of the contract is ``fsl_sage_flwr.client_apps.split_fed``.

    Parameters
    ----------
    task : SplitTask
        What is trained.
    batches_per_exchange : int
        As of :class:`SplitFedV1`.
    **settings
        Arguments of :class:`SplitStrategy`.

    Raises
    ------
    ValueError
        A count is less than 1.
    """

    def __init__(
        self,
        task: SplitTask,
        *,
        batches_per_exchange: int = ExchangeOptions.batches_per_exchange,
        **settings: Unpack[StrategySettings],
    ) -> None:
        super().__init__(task, batches_per_exchange=batches_per_exchange, **settings)

    def _answer(
        self,
        round_: Round,
        exchanges: Exchanges,
        replies: Mapping[int, ExchangeReply],
        number: int,
        before: Set[int],
    ) -> set[int]:
        """Step on batches drawn across clients, then answer each client."""
        smashed = {client: reply.smashed for client, reply in replies.items()}
        self._step(round_, exchanges, replies, number)
        for client, batches in smashed.items():
            with round_.transaction(client):
                gradients = self.server.gradients(round_, client, batches, exchange=number)
                exchanges.answer(client, gradients)
        return set(replies)

    def _step(
        self,
        round_: Round,
        exchanges: Exchanges,
        replies: Mapping[int, ExchangeReply],
        number: int,
    ) -> None:
        """Step once on every sample of an exchange, at the learning rate of the longest client."""
        longest = max(replies, key=lambda client: replies[client].batches, default=None)
        if longest is None:
            return
        progress = exchanges.progress(longest, replies[longest])
        batches = batches_across(
            {client: named_tensors(reply.smashed) for client, reply in replies.items()},
            {client: len(reply.smashed.labels) for client, reply in replies.items()},
            max(size for reply in replies.values() for size in reply.smashed.batch_sizes),
            derive_seed(self.task.seed, "across", round_.number, number),
        )
        self.server.step_on_pool(
            round_,
            batches,
            start=progress[0] - round_.number,
            length=len(progress) / replies[longest].batches,
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
    style=LineStyle("#F0E442", "p", (0, (5.0, 1.0))),
)

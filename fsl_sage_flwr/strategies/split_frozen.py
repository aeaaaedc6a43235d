"""SplitFrozen: the server half is trained on smashed data that are uploaded once."""

from functools import partial
from typing import Any, Unpack

from ..algorithm_registry import Algorithm, LineStyle
from ..client_apps.split_frozen import HANDLERS
from ..clock.phases import NEW, Down, Pool, Steps, Up
from ..config.options import Options
from ..messages import ReplySchema, TrainReply, TrainRequest
from ..rounds.instruction import Instruction
from ..rounds.round import Round, RoundBody
from ..rounds.server.server_half import OneServerHalf
from ..rounds.server.smashed_pool import SmashedPool
from ..rounds.split_strategy import SplitStrategy
from ..rounds.strategy_arguments import StrategySettings
from ..splitting import Cut, Workload
from ..task import SplitTask


class SplitFrozen(SplitStrategy):
    """Train the server half alone, on the kept smashed data of each round's clients.

    Parameters
    ----------
    task : SplitTask
        What is trained; its client half stays as it is.
    **settings
        Arguments of every strategy: :class:`StrategyArguments`.
    """

    trains_client_half = False

    def __init__(self, task: SplitTask, **settings: Unpack[StrategySettings]) -> None:
        self.server, self.pool = OneServerHalf(task), SmashedPool(task)
        super().__init__(task, {"server": self.server, "pool": self.pool}, **settings)

    def train_round(self, round_: Round) -> RoundBody:
        """Train the server half on the smashed data of the round's clients."""
        yield from train_on_kept(round_, self.server, self.pool)


def train_on_kept(round_: Round, server: OneServerHalf, pool: SmashedPool) -> RoundBody:
    """Ask new clients for their smashed data; pass over those of all clients of the round."""
    new = {client: _instruction(round_) for client in round_.clients if client not in pool}
    kept = [client for client in round_.clients if client in pool]
    for client, reply in (yield from round_.finish(new, without_message=kept)):
        with round_.transaction(client, pool):
            pool.put(client, server.try_upload(round_, client, reply))
    length = 1 / round_.local_epochs
    for epoch in range(round_.local_epochs):
        batches = pool.batches(round_.clients, round_.number, epoch)
        server.step_on_pool(round_, batches, start=epoch * length, length=length)


def _instruction(round_: Round) -> Instruction[TrainReply]:
    return Instruction(
        "train.split_frozen",
        TrainRequest(
            round=round_.number,
            server_update_interval=1,
            auxiliary_version=0,
            # Clients take no step, so there is no optimizer state to keep or to miss.
            keep_optimizer_state=False,
            trained_before=False,
            client_half=round_.client_half,
        ),
        TrainReply,
        ReplySchema(
            {"round": round_.number}, smashed=round_.smashed, weighted_by=round_.weighted_by
        ),
        sample_uploads=1,
        problem=partial(round_.problem_with_upload, interval=1, epochs=1),
    )


def build(task: SplitTask, options: Options, settings: Any) -> SplitFrozen:
    """Return the strategy of a run."""
    return SplitFrozen(task, **settings)


def round_bytes(cut: Cut, work: Workload, options: Options) -> int:
    """Return a client's bytes in a mean round: it gets its half once, and uploads once."""
    return (cut.client_bytes + work.examples * cut.smashed_bytes) // work.rounds


ALGORITHM = Algorithm(
    name="split_frozen",
    label="SplitFrozen",
    strategy=build,
    handlers=HANDLERS,
    options=Options,
    round_bytes=round_bytes,
    trains_client_half=False,
    schedule=(Down(), Steps(client=1, one_pass=True, only=NEW), Up(), Pool()),
    style=LineStyle("#CC79A7", "P", (0, (1.0, 1.0))),
)

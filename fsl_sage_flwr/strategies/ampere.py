"""Ampere: the client half is trained first, then the server half on smashed data uploaded once."""

from dataclasses import dataclass
from typing import Unpack

from ..algorithm_options import SharedHeadOptions
from ..algorithm_registry import Algorithm, LineStyle
from ..client_apps.ampere import HANDLERS, TRAIN
from ..clock.phases import Down, Pool, Steps, Up
from ..config import Options, arguments_of, check_arguments, setting
from ..rounds.averaged_state import AveragedState
from ..rounds.round import Round, RoundBody
from ..rounds.server.server_half import OneServerHalf
from ..rounds.server.shared_head import SharedHead
from ..rounds.server.smashed_pool import SmashedPool
from ..rounds.split_strategy import SplitStrategy
from ..rounds.strategy_arguments import StrategySettings
from ..splitting import Cut, Workload
from ..task import SplitTask
from .split_frozen import train_on_kept


@dataclass(frozen=True)
class PhaseOptions(Options):
    """Settings of the two phases of a run."""

    client_rounds: int = setting(
        20,
        "first rounds, in which clients train their halves; the server half is trained in the rest",
        group="ampere",
        ge=1,
        unit="rounds",
    )

    def problem_with_rounds(self, rounds: int) -> str | None:
        """Refuse a run whose server half would never be trained."""
        if self.client_rounds < rounds:
            return None
        return (
            f"ampere.client-rounds = {self.client_rounds}: it must be less than num-server-rounds "
            f"({rounds}), or the server half is never trained"
        )


class Ampere(SplitStrategy):
    """Ampere (Zhang et al., 2025, arXiv 2507.07130): one half after the other.

    In the first rounds clients train their half with an auxiliary head on its loss, and both are
    averaged: nothing crosses the cut. Then clients upload the smashed data of one pass over their
    data once, in eval mode, as in :class:`SplitFrozen`, and the server half is trained on them, on
    batches drawn across clients, ``local-epochs`` passes in each round.

    Where the code decides: the head is that of CSE-FSL; which half is trained follows from the
    number of the round, so a round that failed counts.

    The client's half of the contract is ``fsl_sage_flwr.client_apps.ampere``.

    Parameters
    ----------
    task : SplitTask
        What is trained.
    client_rounds : int
        Rounds in which clients train; a run must have more.
    **settings
        Arguments of every strategy: :class:`StrategyArguments`.

    Raises
    ------
    ValueError
        ``client_rounds`` is less than 1.
    """

    trains_head = True
    private_steps = True

    def __init__(
        self,
        task: SplitTask,
        *,
        client_rounds: int = PhaseOptions.client_rounds,
        **settings: Unpack[StrategySettings],
    ) -> None:
        check_arguments(PhaseOptions, client_rounds=client_rounds)
        self.server, self.pool = OneServerHalf(task), SmashedPool(task)
        self.head = SharedHead(task)
        self._client_rounds = client_rounds
        states = {"server": self.server, "pool": self.pool, "head": self.head}
        super().__init__(task, states, **settings)

    def train_round(self, round_: Round) -> RoundBody:
        """Train the client half and the head, or the server half on what was uploaded."""
        self.trains_client_half = round_.number < self._client_rounds
        if not self.trains_client_half:
            yield from train_on_kept(round_, self.server, self.pool)
            return
        instructions = self.head.instructions(round_, TRAIN, 0)
        for client, reply in (yield from round_.finish(instructions)):
            self.head.collect(client, reply.auxiliary)

    def averaged_states(self) -> dict[str, AveragedState]:
        """Return the head, in rounds in which clients train it."""
        return super().averaged_states() if self.trains_client_half else {}


@dataclass(frozen=True)
class AmpereOptions(PhaseOptions, SharedHeadOptions):
    """Settings of Ampere."""


def _strategy(task: SplitTask, options: AmpereOptions, settings: StrategySettings) -> Ampere:
    return Ampere(task, **arguments_of(options, PhaseOptions), **settings)


def _round_bytes(cut: Cut, work: Workload, options: AmpereOptions) -> int:
    rounds = min(options.client_rounds, work.rounds)
    trained = rounds * 2 * (cut.client_bytes + cut.head_bytes)
    return (trained + cut.client_bytes + work.examples * cut.smashed_bytes) // work.rounds


ALGORITHM = Algorithm(
    name="ampere",
    label="Ampere",
    strategy=_strategy,
    handlers=HANDLERS,
    options=AmpereOptions,
    round_bytes=_round_bytes,
    private_steps=True,
    schedule=(
        Down(),
        Steps(client=3, head=3, where="client_half"),
        Steps(client=1, one_pass=True, where="smashed"),
        Up(),
        Pool(),
    ),
    style=LineStyle("#999999", "X", (0, (4.0, 1.0, 1.0, 1.0))),
)

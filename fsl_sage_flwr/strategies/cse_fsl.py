"""CSE-FSL: clients train on an auxiliary head's own loss."""

from dataclasses import dataclass
from typing import Unpack

from ..algorithm_options import SERVE_UPLOADS, SharedHeadOptions, UploadOptions
from ..algorithm_registry import Algorithm, LineStyle
from ..client_apps.cse_fsl import HANDLERS, TRAIN
from ..clock.phases import Down, Steps, Up
from ..config import arguments_of, check_arguments
from ..rounds.asynchrony.generation import generator_of
from ..rounds.round import Round, RoundBody
from ..rounds.server.round_uploads import RoundUploads
from ..rounds.server.server_half import OneServerHalf
from ..rounds.server.shared_head import SharedHead
from ..rounds.split_strategy import SplitStrategy
from ..rounds.strategy_arguments import StrategySettings
from ..splitting import Cut, Workload
from ..task import SplitTask


class CseFsl(SplitStrategy):
    """CSE-FSL (arXiv 2507.15816): the head's loss trains head and client half.

    A round is one request and one reply per client: the averaged client half and the
    averaged auxiliary head down, both up again with every q-th batch's smashed data. The
    server half is stepped on each uploaded batch, clients in ascending order, batches in
    theirs; nothing ever comes back through the cut.

    The client's half of the contract is ``fsl_sage_flwr.client_apps.cse_fsl``.

    Parameters
    ----------
    task : SplitTask
        What is trained. ``auxiliary_from_server`` has no meaning here: the head is initialised
        at random.
    server_update_interval : int
        q: batches per upload.
    server_steps : int
        τ: passes of the server half over each upload.
    server_pool : bool
        The server half is stepped, once all clients have replied, on batches drawn across their
        uploads (CycleSL's order), instead of on one upload after the other.
    **settings
        Arguments of every strategy: :class:`StrategyArguments`.

    Raises
    ------
    ValueError
        A count is less than 1, or a word is not valid.
    """

    message_type = TRAIN

    trains_head = True
    private_steps = True
    replies_may_be_late = True

    def __init__(
        self,
        task: SplitTask,
        *,
        server_update_interval: int = UploadOptions.server_update_interval,
        server_steps: int = UploadOptions.server_steps,
        server_pool: bool = UploadOptions.server_pool,
        **settings: Unpack[StrategySettings],
    ) -> None:
        check_arguments(UploadOptions, server_update_interval=server_update_interval)
        generator = generator_of(task, settings.get("asynchrony"))
        self.server = OneServerHalf(task, server_steps, generator)
        self.head = SharedHead(task)
        super().__init__(task, {"server": self.server, "head": self.head}, **settings)
        self.server_update_interval, self.server_pool = server_update_interval, server_pool

    def train_round(self, round_: Round) -> RoundBody:
        """Send client half and head; step the server half on each upload."""
        q = self.server_update_interval
        instructions = self.head.instructions(round_, self.message_type, q)
        uploads = RoundUploads(round_, self.server, pooled=self.server_pool)
        for client, reply in (yield from round_.finish(instructions)):
            with round_.transaction(client, self.server):
                uploads.add(client, reply)
                self.head.collect(client, reply.auxiliary)
        uploads.finish()


@dataclass(frozen=True)
class CseFslOptions(UploadOptions, SharedHeadOptions):
    """Settings of CSE-FSL."""


def _strategy(task: SplitTask, options: CseFslOptions, settings: StrategySettings) -> CseFsl:
    return CseFsl(task, **arguments_of(options, UploadOptions), **settings)


def _round_bytes(cut: Cut, work: Workload, options: CseFslOptions) -> int:
    return 2 * (cut.client_bytes + cut.head_bytes) + options.uploaded_bytes(cut, work)


ALGORITHM = Algorithm(
    name="cse_fsl",
    label="CSE-FSL",
    strategy=_strategy,
    handlers=HANDLERS,
    options=CseFslOptions,
    round_bytes=_round_bytes,
    private_steps=True,
    replies_may_be_late=True,
    schedule=(
        Down(),
        Steps(client=3, head=3),
        Up(),
        *SERVE_UPLOADS,
    ),
    style=LineStyle("#009E73", "D", ":"),
)

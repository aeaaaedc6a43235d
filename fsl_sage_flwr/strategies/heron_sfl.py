"""HERON-SFL: clients train by forward passes alone, the server by gradients."""

from dataclasses import dataclass
from functools import partial
from typing import Unpack

from ..algorithm_options import SERVE_UPLOADS, SharedHeadOptions, UploadOptions
from ..algorithm_registry import Algorithm, LineStyle
from ..client_apps.heron_sfl import HANDLERS, TRAIN, HeronRequest
from ..clock.phases import Down, Steps, Up
from ..config import Options, arguments_of, check_arguments, setting
from ..rounds.asynchrony.generation import generator_of
from ..rounds.round import Round, RoundBody
from ..rounds.server.round_uploads import RoundUploads
from ..rounds.server.server_half import OneServerHalf
from ..rounds.server.shared_head import SharedHead
from ..rounds.split_strategy import SplitStrategy
from ..rounds.strategy_arguments import StrategySettings
from ..splitting import Cut, Workload
from ..task import SplitTask


@dataclass(frozen=True)
class PerturbationOptions(Options):
    """Settings of a zeroth-order estimate."""

    perturbation_scale: float = setting(
        1e-3,
        "distance by which an estimate moves the parameters",
        group="heron",
        formerly=("perturbation-scale",),
        gt=0,
    )
    perturbations: int = setting(
        1,
        "directions that an estimate averages, two forward passes each",
        group="heron",
        formerly=("perturbations",),
        ge=1,
    )


class HeronSfl(SplitStrategy):
    """HERON-SFL (Kou et al., 2026, arXiv 2601.09076): zeroth-order clients, first-order server.

    A round is one request and one reply per client: the averaged client half and the averaged
    auxiliary head down, both up again with every q-th batch's smashed data. Clients estimate the
    gradient of the head's loss from two forward passes for each perturbation: no backward pass,
    no activations kept. The server half is stepped on each uploaded batch by its gradient.

    Where the code decides: both sides of a perturbation see the same dropout; running statistics
    move with a batch's first pass alone; smashed data are those of the unperturbed weights; the
    estimate goes through the task's optimizers, as a gradient would.

    The client's half of the contract is ``fsl_sage_flwr.client_apps.heron_sfl``.

    Parameters
    ----------
    task : SplitTask
        What is trained. ``auxiliary_from_server`` has no meaning here: the head is initialised
        at random.
    server_update_interval : int
        q: batches per upload.
    perturbation_scale : float
        μ: how far parameters are moved.
    perturbations : int
        P: directions that an estimate is the mean over.
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
        ``perturbation_scale`` is not above 0, or ``perturbations`` is less than 1.
    """

    trains_head = True
    replies_may_be_late = True

    def __init__(
        self,
        task: SplitTask,
        *,
        server_update_interval: int = UploadOptions.server_update_interval,
        perturbation_scale: float = PerturbationOptions.perturbation_scale,
        perturbations: int = PerturbationOptions.perturbations,
        server_steps: int = UploadOptions.server_steps,
        server_pool: bool = UploadOptions.server_pool,
        **settings: Unpack[StrategySettings],
    ) -> None:
        check_arguments(
            HeronSflOptions,
            server_update_interval=server_update_interval,
            perturbation_scale=perturbation_scale,
            perturbations=perturbations,
        )
        generator = generator_of(task, settings.get("asynchrony"))
        self.server = OneServerHalf(task, server_steps, generator)
        self.head = SharedHead(task)
        super().__init__(task, {"server": self.server, "head": self.head}, **settings)
        self.server_update_interval, self.server_pool = server_update_interval, server_pool
        self.request = partial(
            HeronRequest, perturbation_scale=float(perturbation_scale), perturbations=perturbations
        )

    def train_round(self, round_: Round) -> RoundBody:
        """Send client half and head, and how to estimate; step the server half on each upload."""
        q = self.server_update_interval
        instructions = self.head.instructions(round_, TRAIN, q, self.request)
        uploads = RoundUploads(round_, self.server, pooled=self.server_pool)
        for client, reply in (yield from round_.finish(instructions)):
            with round_.transaction(client, self.server):
                uploads.add(client, reply)
                self.head.collect(client, reply.auxiliary)
        uploads.finish()


@dataclass(frozen=True)
class HeronSflOptions(PerturbationOptions, UploadOptions, SharedHeadOptions):
    """Settings of HERON-SFL."""


def _strategy(task: SplitTask, options: HeronSflOptions, settings: StrategySettings) -> HeronSfl:
    return HeronSfl(task, **arguments_of(options, UploadOptions, PerturbationOptions), **settings)


def _round_bytes(cut: Cut, work: Workload, options: HeronSflOptions) -> int:
    return 2 * (cut.client_bytes + cut.head_bytes) + options.uploaded_bytes(cut, work)


ALGORITHM = Algorithm(
    name="heron_sfl",
    label="HERON-SFL",
    strategy=_strategy,
    handlers=HANDLERS,
    options=HeronSflOptions,
    round_bytes=_round_bytes,
    replies_may_be_late=True,
    schedule=(
        Down(),
        Steps(client=2, head=2, per="heron.perturbations"),
        Steps(client=1, every="server-update-interval"),
        Up(),
        *SERVE_UPLOADS,
    ),
    style=LineStyle("#0072B2", "v", (0, (3.0, 1.0, 1.0, 1.0, 1.0, 1.0))),
)

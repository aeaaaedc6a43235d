"""Options that several algorithms share."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

from .clock.phases import Pool, Serve
from .config import Options, setting
from .config.optimizer import CONSTANT, schedule_problem
from .splitting import Cut, Workload
from .splitting.auxiliary import MAX_SHARE

AUXILIARIES = ("auto", "blocks", "linear")
AUXILIARY_INITS = ("server", "random")
LABELS_STAY = ("labels", "client")
"""Key and value with which labels, and the model's tail, stay on the clients."""


@dataclass(frozen=True)
class HeadOptions(Options):
    """Options of an algorithm whose clients have an auxiliary head."""

    auxiliary: str = setting(
        "auto",
        "`auto` is the model's own head, `blocks` the first blocks of the server half, `linear` "
        "pooling and a linear layer",
        key="auxiliary.head",
        formerly=("auxiliary",),
        choices=AUXILIARIES,
    )
    auxiliary_max_share: float = setting(
        MAX_SHARE,
        "largest fraction of the server half's parameters in a head of `blocks`",
        group="auxiliary",
        formerly=("auxiliary-max-share",),
        ge=0,
        le=1,
    )
    auxiliary_init: str = setting(
        "server",
        "initial heads; `server` copies the server half's blocks",
        group="auxiliary",
        formerly=("auxiliary-init",),
        choices=AUXILIARY_INITS,
    )
    auxiliary_learning_rate: float = setting(
        1e-3,
        "learning rate of the heads' Adam",
        group="auxiliary",
        formerly=("auxiliary-learning-rate",),
        gt=0,
    )
    auxiliary_lr_schedule: str = setting(
        CONSTANT,
        "learning-rate schedule, auxiliary heads",
        group="auxiliary",
        formerly=("auxiliary-lr-schedule",),
        check=schedule_problem,
    )

    def problem(self) -> str | None:
        """Refuse a fraction of blocks where the head is not made of them."""
        if self.auxiliary_max_share != MAX_SHARE and self.auxiliary != "blocks":
            return (
                f"auxiliary.max-share = {self.auxiliary_max_share}: it is the fraction of the "
                "server half's blocks that a head is made of; set auxiliary.head = 'blocks'"
            )
        return None

    def unused(self) -> Mapping[str, str]:
        """Return the fraction unless a head is made of blocks; for a linear head its init too."""
        if self.auxiliary == "blocks":
            return {}
        init = ("auxiliary.init",) if self.auxiliary == "linear" else ()
        return dict.fromkeys(("auxiliary.max-share", *init), "auxiliary.head")


@dataclass(frozen=True)
class SharedHeadOptions(HeadOptions):
    """Options of an algorithm whose clients train one averaged head, initially random."""

    def unused(self) -> Mapping[str, str]:
        """Return the initial heads too."""
        return {**super().unused(), "auxiliary.init": "algorithm"}


@dataclass(frozen=True)
class ServerStepsOptions(Options):
    """Option of an algorithm whose server half is stepped on what clients send in a round."""

    server_steps: int = setting(
        1, "steps τ of the server half on each batch that a client sends", ge=1, unit="steps"
    )


@dataclass(frozen=True)
class UploadOptions(ServerStepsOptions):
    """Options of an algorithm whose clients upload every q-th batch."""

    server_update_interval: int = setting(
        2, "upload interval q: clients upload every q-th batch", ge=1, unit="batches"
    )
    server_pool: bool = setting(
        False,
        "the server half is trained on batches drawn across the uploads of a round's clients, "
        "instead of on one client's upload after the other",
    )

    def uploaded_bytes(self, cut: Cut, work: Workload) -> int:
        """Return the bytes of smashed data that a client uploads in a round."""
        uploads = ceil(work.batches / self.server_update_interval) * work.batch_size
        return min(work.seen, uploads) * cut.smashed_bytes


@dataclass(frozen=True)
class ExchangeOptions(ServerStepsOptions):
    """Options of an algorithm whose clients exchange every batch for its gradient."""

    batches_per_exchange: int = setting(
        1,
        "batches that go forward with the same weights in one message; 1 is exact",
        group="splitfed",
        formerly=("batches-per-exchange",),
        ge=1,
        unit="batches",
    )


_UPLOADED, _STEPS, _POOL = "server-update-interval", "server-steps", "server-pool"
SERVE_UPLOADS = (
    Serve(every=_UPLOADED, per=_STEPS, unless=_POOL),
    Serve(every=_UPLOADED, when=_POOL),  # on trial
    Pool(every=_UPLOADED, per=_STEPS, when=_POOL),
)
"""Phases of a round in which the server half is stepped on uploads, by ``UploadOptions``."""


def exchanged_bytes(cut: Cut, work: Workload, options: Options) -> int:
    """Return the bytes of a round in which every batch is exchanged for its gradient.

    With a tail hidden states go down and their gradients up too.
    """
    crossing = cut.smashed_bytes + cut.gradient_bytes
    crossing += cut.hidden_bytes + cut.hidden_gradient_bytes
    return 2 * cut.client_bytes + work.seen * crossing

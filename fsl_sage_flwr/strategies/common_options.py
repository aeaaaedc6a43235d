"""Options that several algorithms share."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

from ..options import Options, at_least, one_of, option, schedule
from ..splitting import Cut, Workload
from ..splitting.auxiliary import MAX_SHARE

AUXILIARIES = ("auto", "blocks", "linear")
AUXILIARY_INITS = ("server", "random")


@dataclass(frozen=True)
class HeadOptions(Options):
    """Options of an algorithm whose clients have an auxiliary head."""

    auxiliary: str = option(
        "auto", one_of(*AUXILIARIES), "the model's own head, blocks of the server half, or linear"
    )
    auxiliary_max_share: float = option(
        MAX_SHARE, at_least(0, below=1), "of blocks: largest share of the server half's parameters"
    )
    auxiliary_init: str = option(
        "server", one_of(*AUXILIARY_INITS), "heads begin as copies of the server half, or at random"
    )
    auxiliary_learning_rate: float = option(
        1e-3, at_least(0, above=True), "learning rate of the heads, by Adam"
    )
    auxiliary_lr_schedule: str = option("constant", schedule, "schedule of that rate")

    def problem(self) -> str | None:
        """Refuse a share of blocks where the head is not made of them."""
        if self.auxiliary_max_share != MAX_SHARE and self.auxiliary != "blocks":
            return (
                f"auxiliary-max-share = {self.auxiliary_max_share}: it is the share of the "
                "server half's blocks that a head is made of; set auxiliary = 'blocks'"
            )
        return None

    def idle(self) -> Mapping[str, str]:
        """Return the share, unless a head is made of blocks; of a linear one its beginning too."""
        if self.auxiliary == "blocks":
            return {}
        begins = ("auxiliary-init",) if self.auxiliary == "linear" else ()
        return dict.fromkeys(("auxiliary-max-share", *begins), "auxiliary")


@dataclass(frozen=True)
class UploadOptions(Options):
    """Options of an algorithm whose clients upload every q-th batch."""

    server_update_interval: int = option(2, at_least(1), "q: every q-th batch is uploaded")

    def uploaded_bytes(self, cut: Cut, work: Workload) -> int:
        """Return the bytes of the smashed data that a client uploads in a round."""
        uploads = ceil(work.batches / self.server_update_interval) * work.batch_size
        return min(work.seen, uploads) * cut.smashed_bytes


@dataclass(frozen=True)
class ExchangeOptions(Options):
    """Options of an algorithm whose clients exchange every batch for its gradient."""

    batches_per_exchange: int = option(
        1, at_least(1), "batches forward with the same weights in one message; 1 is exact"
    )


def exchanged_bytes(cut: Cut, work: Workload, options: Options) -> int:
    """Return the bytes of a round in which every batch is exchanged for its gradient."""
    return 2 * cut.client_bytes + work.seen * (cut.smashed_bytes + cut.gradient_bytes)

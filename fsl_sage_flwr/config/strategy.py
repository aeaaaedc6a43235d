"""Settings that every strategy has, as arguments of the same names."""

from dataclasses import dataclass

from ..units import MIB
from .options import Options
from .setting import setting

# Python's waits overflow beyond this: 31 years.
LONGEST_TIMEOUT = 1e9


@dataclass(frozen=True)
class StrategyOptions(Options):
    """Settings of all strategies: sampling of clients, time limits, exclusion of replies."""

    fraction_train: float = setting(
        1.0, "fraction of the clients that train in a round", gt=0, le=1
    )
    fraction_evaluate: float = setting(
        0.0, "fraction of the clients that evaluate after a round", ge=0, le=1
    )
    min_train_nodes: int = setting(
        1,
        "valid replies that a round needs",
        ge=1,
        unit="clients",
        scope="course",
    )
    fraction_reply: float = setting(
        1.0,
        "fraction of valid replies that closes a round; late replies are discarded",
        gt=0,
        le=1,
        scope="course",
    )
    max_client_failures: int = setting(
        3,
        "consecutive failed rounds after which a client is paused; 0 disables pauses",
        ge=0,
        unit="rounds",
        scope="course",
    )
    pause_rounds: int = setting(
        10,
        "length of a pause",
        ge=1,
        unit="rounds",
        scope="course",
    )
    proximal_mu: float = setting(
        0.0,
        "weight of FedProx's term, half the squared distance of what a client trains from the "
        "round's weights; 0 disables it",
        ge=0,
    )
    max_update_ratio: float = setting(
        0.0,
        "largest norm of an update or of smashed data, in medians of the round; 0 disables the "
        "check",
        group="robust",
        formerly=("max-update-ratio",),
        ge=0,
    )
    round_timeout: float = setting(
        3600.0,
        "time after which a client without a reply is excluded from a round, exchanges and the "
        "server's steps on them together",
        gt=0,
        le=LONGEST_TIMEOUT,
        unit="seconds",
        scope="execution",
    )
    absence_timeout: float = setting(
        600.0,
        "time to wait before a round for `min-train-nodes` nodes, and at the start for registered "
        "nodes that do not answer",
        ge=0,
        le=LONGEST_TIMEOUT,
        unit="seconds",
        scope="execution",
    )
    max_reply_mib: float = setting(
        1024.0,
        "largest reply; a larger one is refused unread",
        formerly=("max-reply-mb",),
        gt=0,
        unit="MiB",
        scope="execution",
    )
    keep_optimizer_state: bool = setting(
        True, "clients keep their optimizers' state from round to round"
    )

    @property
    def max_reply_bytes(self) -> int:
        """Largest reply in bytes."""
        return mebibytes(self.max_reply_mib)


def mebibytes(count: float) -> int:
    """Return the bytes of a number of MiB."""
    return int(count * MIB)

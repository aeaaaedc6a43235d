"""What a strategy demands of all its rounds."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from ..messages import SmashedSpec
from .checks.batch_limits import BatchLimits


@dataclass(frozen=True)
class RoundSettings:
    """Demands on a round's clients, their replies and their batches.

    Attributes
    ----------
    timeout : float
        Seconds after which a client that has not answered is excluded.
    max_reply_bytes : int
        Largest size of a reply, in bytes.
    keep_optimizer_state : bool
        Clients keep their optimizers' state from round to round.
    weighted_by : str
        Key of the metric that replies are weighted by.
    smashed : SmashedSpec
        What smashed data must look like.
    client_half_like : Mapping
        What weights of the record that is averaged must look like.
    fraction_reply : float
        Fraction of valid replies that closes a round; late replies are discarded.
    max_update_ratio : float
        Largest update, as a multiple of the round's median; 0 disables the filter. See
        :mod:`~fsl_sage_flwr.rounds.checks.norm_outliers`. Replies are compared before any is
        served, except those at a client's own pace.
    batches : BatchLimits
        Limits on a client's batches.
    most_at_once : int or None
        Largest number of clients in the last phase of a round at a time, in a simulation.
    """

    timeout: float
    max_reply_bytes: int
    keep_optimizer_state: bool
    weighted_by: str
    smashed: SmashedSpec
    client_half_like: Mapping[str, Tensor]
    batches: BatchLimits
    fraction_reply: float
    max_update_ratio: float
    most_at_once: int | None

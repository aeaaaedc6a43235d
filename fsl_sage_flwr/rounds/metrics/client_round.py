"""What one client did in one round, for whoever looks for a bad one."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.app import ArrayRecord
from numpy.typing import NDArray


@dataclass
class ClientRound:
    """What one client did in one round.

    Attributes
    ----------
    round : int
        Counted from 1.
    client : int
        Partition id.
    node_id : int
        Id of its node; made up where a simulation's clients share nodes.
    examples : int or None
        That its reply weighs in the average; None when it was left out.
    update_norm : float or None
        Euclidean distance between the weights that it was sent and those it sent back,
        over all floating-point values of the record that is averaged.
    seconds : float
        Latency: waiting for its replies, of all its messages.
    down_bytes, up_bytes : int
        To the client and from it.
    sample_uploads, total_sample_uploads : int
        The most times that one of its samples was uploaded in this round, and in the run so
        far, rounds that were given up among them.
    failure : str
        Why it was left out; empty when it was not.
    """

    round: int
    client: int
    node_id: int
    examples: int | None
    update_norm: float | None
    seconds: float
    down_bytes: int
    up_bytes: int
    sample_uploads: int
    total_sample_uploads: int
    failure: str


def update_norm(sent: Mapping[str, NDArray[Any]], returned: ArrayRecord) -> float:
    """Return the Euclidean norm of an update, floating-point arrays alone.

    ``sent`` is decoded already: it is the same for all clients of a round.
    """
    total = 0.0
    for name, array in returned.items():
        if np.issubdtype(np.dtype(array.dtype), np.floating):
            change = array.numpy().astype(np.float64) - sent[name]
            total += float(np.vdot(change, change))
    return math.sqrt(total)

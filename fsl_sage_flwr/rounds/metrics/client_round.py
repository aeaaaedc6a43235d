"""The figures of one client in one round."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.app import ArrayRecord
from numpy.typing import NDArray


@dataclass
class ClientRound:
    """The figures of one client in one round.

    Attributes
    ----------
    round : int
        Counted from 1.
    client : int
        Partition id.
    node_id : int
        Id of its node; invented where a simulation's clients share nodes.
    examples : int or None
        Weight of its reply in the average; None when it was excluded, or took part without a
        message.
    update_norm : float or None
        Euclidean distance between the weights that it received and those it returned, over all
        floating-point values of the record that is averaged; None where clients train none.
    seconds : float
        Latency: time until its replies arrived, over all its messages.
    down_bytes, up_bytes : int
        Bytes to the client and from it.
    sample_uploads, total_sample_uploads : int
        Largest number of uploads of one of its samples in this round, and in the run so far,
        with rounds that failed.
    failure : str
        Reason for its exclusion; empty when it was not excluded.
    staleness : int or None
        Versions of the weights since those that its reply started from; None if no reply counts in
        the round, and where a round waits for its own replies alone.
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
    staleness: int | None = None


def update_norm(sent: Mapping[str, NDArray[Any]], returned: ArrayRecord) -> float:
    """Return the Euclidean norm of an update, floating-point arrays alone.

    ``sent`` is decoded once for all clients of a round.
    """
    total = 0.0
    for name, array in returned.items():
        if np.issubdtype(np.dtype(array.dtype), np.floating):
            values = array.numpy().astype(np.float64)
            with np.errstate(invalid="ignore"):
                # An infinite value that stays, as in an attention mask, has not changed.
                change = np.where(values == sent[name], 0.0, values - sent[name])
            total += float(np.vdot(change, change))
    return math.sqrt(total)

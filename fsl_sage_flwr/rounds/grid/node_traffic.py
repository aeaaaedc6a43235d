"""Bytes and seconds of one node in one round."""

from dataclasses import dataclass


@dataclass
class NodeTraffic:
    """Bytes and seconds of one node in one round.

    Attributes
    ----------
    down_bytes, up_bytes : int
        To the node and from it, as the ledger counts.
    seconds : float
        From sending a message to having its reply, added up over the messages; a message
        without a reply counts until it failed.
    """

    down_bytes: int = 0
    up_bytes: int = 0
    seconds: float = 0.0

"""Which client of a shared node a message is for."""

import re
from dataclasses import dataclass

_TEXT = re.compile(r"client (\d+) of (\d+)")


@dataclass(frozen=True)
class VirtualClient:
    """One of the clients that share a simulation's nodes.

    It travels as the group of a message's metadata, which Flower hands on as it is: the content,
    and so its bytes, are those of a message to a node of the client's own.

    Attributes
    ----------
    partition_id, num_partitions : int
        Number of the client, and how many there are.
    """

    partition_id: int
    num_partitions: int

    @property
    def group_id(self) -> str:
        """The text that travels."""
        return f"client {self.partition_id} of {self.num_partitions}"

    @classmethod
    def from_group_id(cls, text: str) -> "VirtualClient | None":
        """Read the text; None where it names no client, as in a message to a client's own node."""
        found = _TEXT.fullmatch(text)
        return None if found is None else cls(int(found[1]), int(found[2]))

"""The first question to a node: which client it is."""

from dataclasses import dataclass

from .kinds import Expected
from .payload import Reply, figure_field
from .records import BadReplyError

DESCRIBE = "query.describe"


@dataclass(frozen=True, kw_only=True)
class NodeDescription(Reply):
    """A node's place in the federation.

    Attributes
    ----------
    partition_id : int
        Number of the client that the node runs.
    num_partitions : int
        Clients in the federation, as the node was told.
    """

    partition_id: int = figure_field()
    num_partitions: int = figure_field()

    def check(self, expected: Expected) -> None:
        """Refuse a number that no client of so many has."""
        if not 0 <= self.partition_id < self.num_partitions:
            raise BadReplyError(
                f"partition-id {self.partition_id} is not in 0 to {self.num_partitions - 1}"
            )

"""The first question to a node: which client it is."""

from dataclasses import dataclass

from flwr.app import MetricRecord, MetricRecordValues, RecordDict

from .records import METRICS, BadReplyError, number

DESCRIBE = "query.describe"


@dataclass(frozen=True)
class NodeDescription:
    """A node's place in the federation.

    Attributes
    ----------
    partition_id : int
        Number of the client that the node runs.
    num_partitions : int
        Clients in the federation, as the node was told.
    """

    partition_id: int
    num_partitions: int

    def to_records(self) -> RecordDict:
        """Pack for a reply."""
        values: dict[str, MetricRecordValues] = {
            "partition-id": self.partition_id,
            "num-partitions": self.num_partitions,
        }
        return RecordDict({METRICS: MetricRecord(values)})

    @classmethod
    def from_records(cls, content: RecordDict) -> "NodeDescription":
        """Read from a reply.

        Raises
        ------
        BadReplyError
            A number is missing or impossible.
        """
        if METRICS not in content.metric_records:
            raise BadReplyError(f"record {METRICS!r} is missing")
        metrics = content.metric_records[METRICS]
        found = cls(number(metrics, "partition-id"), number(metrics, "num-partitions"))
        if not 0 <= found.partition_id < found.num_partitions:
            raise BadReplyError(
                f"partition-id {found.partition_id} is not in 0 to {found.num_partitions - 1}"
            )
        return found

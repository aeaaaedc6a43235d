"""Declare the first request to a node, for its client and its code."""

from dataclasses import dataclass

from flwr.app import ConfigRecord, RecordDict

from .fields import ReplySchema
from .payload import Reply, figure_field, text_field
from .records import ABOUT, BadReplyError

DESCRIBE = "query.describe"
_CLASSES = "classes"


def describe_request(classes: str) -> RecordDict:
    """Return the content of the request.

    Parameters
    ----------
    classes : str
        Fingerprint of the run's classes, see :class:`fsl_sage_flwr.classes.Classes`; "" skips
        the comparison with the node's.
    """
    return RecordDict({ABOUT: ConfigRecord({_CLASSES: classes})} if classes else {})


def classes_asked_for(content: RecordDict) -> str:
    """Return the fingerprint of the run's classes in a request, "" by default."""
    return str(content.config_records.get(ABOUT, ConfigRecord()).get(_CLASSES, ""))


@dataclass(frozen=True, kw_only=True)
class NodeDescription(Reply):
    """Returns a node's place in the federation, and its code.

    Attributes
    ----------
    partition_id : int
        Number of the node's client, from 0.
    num_partitions : int
        Number of clients in the federation, by the node's configuration.
    package : str or None
        Version and hash of this package on the node.
    app : str or None
        Name, version and hash of the app, unless it is this package's own.
    classes : tuple of str
        Count and names of the classes of the node's data, if they differ from the request's.
    """

    partition_id: int = figure_field()
    num_partitions: int = figure_field()
    package: str | None = text_field()
    app: str | None = text_field()
    classes: tuple[str, ...] = text_field(several=True)

    def check(self, expected: ReplySchema) -> None:
        """Refuse a partition id outside its range."""
        if not 0 <= self.partition_id < self.num_partitions:
            raise BadReplyError(
                f"partition-id {self.partition_id} is not in 0 to {self.num_partitions - 1}"
            )

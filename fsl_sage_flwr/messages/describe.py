"""The first question to a node: which client it is, and what it runs."""

from dataclasses import dataclass

from flwr.app import ConfigRecord, RecordDict

from .fields import ReplySchema
from .payload import Reply, figure_field, text_field
from .records import ABOUT, BadReplyError

DESCRIBE = "query.describe"
_CLASSES = "classes"


def describe_request(classes: str) -> RecordDict:
    """Return the content of the question.

    Parameters
    ----------
    classes : str
        Fingerprint of the run's classes, see :class:`fsl_sage_flwr.classes.Classes`; empty: the
        node's are not compared.
    """
    return RecordDict({ABOUT: ConfigRecord({_CLASSES: classes})} if classes else {})


def classes_asked_for(content: RecordDict) -> str:
    """Return the fingerprint of the run's classes in a question; empty if it has none."""
    return str(content.config_records.get(ABOUT, ConfigRecord()).get(_CLASSES, ""))


@dataclass(frozen=True, kw_only=True)
class NodeDescription(Reply):
    """A node's place in the federation, and its code.

    Attributes
    ----------
    partition_id : int
        Number of the client that the node runs.
    num_partitions : int
        Clients in the federation, as the node was told.
    package : str or None
        Version and hash of this package on the node.
    app : str or None
        Name, version and hash of the app, where it is not this package's own.
    classes : tuple of str
        Count and names of the classes of the node's data, only if they are not those of the
        question.
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

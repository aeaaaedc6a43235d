"""Which client a node is."""

from flwr.app import Context, Message

from ..messages import MissingPayloadError, NodeDescription
from ..task import ClientIdentity
from .label_secret import secret_of


def identify(context: Context) -> ClientIdentity:
    """Return the client that the node's configuration names.

    Raises
    ------
    MissingPayloadError
        The node was started without ``partition-id`` and ``num-partitions``.
    """
    config = context.node_config
    try:
        return ClientIdentity(
            int(config["partition-id"]),
            int(config["num-partitions"]),
            dict(config),
            secret_of(context),
        )
    except KeyError as error:
        raise MissingPayloadError(
            f"this node's configuration has no {error}: start it with "
            '--node-config "partition-id=0 num-partitions=2", each node with its own id'
        ) from error


def describe(message: Message, context: Context) -> Message:
    """Answer ``query.describe``."""
    client = identify(context)
    description = NodeDescription(
        partition_id=client.partition_id, num_partitions=client.num_partitions
    )
    return Message(description.pack(), reply_to=message)

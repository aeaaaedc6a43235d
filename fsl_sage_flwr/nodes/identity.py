"""Identify a node's client, and describe the node to the server."""

from collections.abc import Callable

from flwr.app import Context, Message

from ..classes import Classes
from ..messages import MissingPayloadError, NodeDescription, classes_asked_for
from ..running_code import app_code, package_code
from ..task import ClientIdentity
from .label_secret import secret_of

ClassesOf = Callable[[Context], Classes | None]
"""Maps Flower's Context to the classes of the node's data, or None if unknown."""


def identify(context: Context) -> ClientIdentity:
    """Return the client of the node's configuration.

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


def describe(
    message: Message, context: Context, app_module: str, classes_of: ClassesOf | None
) -> Message:
    """Answer ``query.describe``.

    Parameters
    ----------
    message, context : Message, Context
        Flower's arguments of a handler.
    app_module : str
        Module of the app; its version and source hash are reported.
    classes_of : callable, optional
        Returns the classes of the node's data. They are read only at the server's request, and
        sent only if they differ from the run's.
    """
    client = identify(context)
    wanted = classes_asked_for(message.content)
    own = classes_of(context) if wanted and classes_of is not None else None
    description = NodeDescription(
        partition_id=client.partition_id,
        num_partitions=client.num_partitions,
        package=package_code(),
        app=app_code(app_module),
        classes=() if own is None or own.agree_with(wanted) else own.texts(),
    )
    return Message(description.pack(), reply_to=message)

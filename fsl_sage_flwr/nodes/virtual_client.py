"""A Flower mod with which a simulation's node runs several clients."""

from flwr.app import Context, Message, RecordDict
from flwr.clientapp.typing import ClientAppCallable

from ..messages import FORGET, MissingPayloadError, VirtualClient, in_actor
from .client_folder import ClientFolder
from .record_file import read_records, write_records

STATE = "state.pt"


def virtual_client_mod(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """Handle a message to one of a node's clients as that client's own node would.

    What is inside sees a Context with the client's place in the federation and its own state,
    which is a file between messages: two of a node's clients may be at work at once, and of two
    that change the node's Flower would keep the last. A message that names no client is handled
    as ever.

    Raises
    ------
    MissingPayloadError
        This node is none of a simulation. A server could otherwise have one node's data as those
        of many clients, of a few examples each.
    """
    client = VirtualClient.from_group_id(message.metadata.group_id)
    if client is None:
        return call_next(message, context)
    if not in_actor():
        raise MissingPayloadError(
            f"a message to {message.metadata.group_id}: only a simulation's nodes run several "
            "clients; leave virtual-clients out, and start a SuperNode for each client"
        )
    own = Context(
        run_id=context.run_id,
        node_id=client.partition_id,
        node_config={
            **context.node_config,
            "partition-id": client.partition_id,
            "num-partitions": client.num_partitions,
        },
        state=RecordDict(),
        run_config=context.run_config,
    )
    if message.metadata.message_type == FORGET:
        return call_next(message, own)  # the client's state goes with the other files
    folder = ClientFolder(own)
    path = folder.path(STATE)
    if path.is_file():
        own.state = read_records(path)
    reply = call_next(message, own)
    if own.state or path.is_file():
        folder.write(STATE, lambda unfinished: write_records(unfinished, own.state))
    return reply

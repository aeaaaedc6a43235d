"""Flower mod that runs several clients on one node of a simulation."""

from flwr.app import Context, Message, RecordDict
from flwr.clientapp.typing import ClientAppCallable

from ..messages import FORGET, MissingPayloadError, VirtualClient, in_actor
from .client_folder import ClientFolder
from .record_file import read_records, write_records

STATE = "state.pt"


def virtual_client_mod(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """Handle a message to one of a node's clients as the client's own node would.

    The app sees a Context with the client's place in the federation and its own state. Between
    messages this state is a file: two clients of a node may be active at once, and Flower would
    keep only the last state of the node. A message without a client is handled as usual.

    Raises
    ------
    MissingPayloadError
        This node is not in a simulation. A server could otherwise split one node's data into many
        clients of a few examples each.
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
        return call_next(message, own)  # the client's state is removed with the other files
    folder = ClientFolder(own)
    path = folder.path(STATE)
    if path.is_file():
        own.state = read_records(path)
    reply = call_next(message, own)
    if own.state or path.is_file():
        folder.write(STATE, lambda unfinished: write_records(unfinished, own.state))
    return reply

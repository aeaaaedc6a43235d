"""A Flower mod by which a simulated node runs several clients."""

from copy import copy

from flwr.app import Context, Message, RecordDict
from flwr.clientapp.typing import ClientAppCallable, Mod

from ..messages import FORGET, MissingPayloadError, VirtualClient
from .client_folder import ClientFolder
from .record_file import read_records, write_records
from .simulated import Simulated

STATE = "state.pt"


def virtual_client_mod(simulated: Simulated) -> Mod:
    """Return the mod.

    Parameters
    ----------
    simulated : Simulated
        Whether a simulation runs the ClientApp.
    """

    def mod(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
        client = VirtualClient.from_group_id(message.metadata.group_id)
        if client is None:
            return call_next(message, context)
        # A server could otherwise divide one node's data into clients of a few examples each.
        if not simulated:
            raise MissingPayloadError(
                f"a message to {message.metadata.group_id}: only a simulation's nodes run several "
                "clients; leave virtual-clients out, and start a SuperNode for each client"
            )
        return _as_client(client, message, context, call_next)

    return mod


def _as_client(
    client: VirtualClient, message: Message, context: Context, call_next: ClientAppCallable
) -> Message:
    """Handle a message as the client's own node would.

    The ClientApp sees a Context with the client's partition id and state. Between messages the
    state is a file: two clients of a node can run at the same time, and Flower would keep only the
    state that was returned last.
    """
    own = copy(context)
    own.node_id, own.state = client.partition_id, RecordDict()
    own.node_config = {
        **context.node_config,
        "partition-id": client.partition_id,
        "num-partitions": client.num_partitions,
    }
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

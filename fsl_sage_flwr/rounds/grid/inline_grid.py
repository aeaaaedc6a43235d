"""A Grid whose nodes run in this process, without a SuperLink and without Ray."""

import bdb
import logging
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from flwr.app import Context, Error, Message, RecordDict, UserConfigValue
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid

from ...messages import message_outside_a_run
from ...messages.reason import CLIENT_APP_RAISED
from ...nodes.simulated import simulated_in_this_process
from .simulation import SIMULATION

log = logging.getLogger("flwr.fsl_sage")

DEFAULT_TTL = 12 * 3600.0  # seconds


@dataclass(frozen=True)
class InlineRun:
    """A run in this process, with those attributes of Flower's ``Run`` that are read.

    Attributes
    ----------
    run_id : int
        Drawn at random, as Flower's: clients' files of two runs are told apart by it.
    primary_task_type : str
        Flower's name of a simulation.
    """

    run_id: int
    primary_task_type: str = SIMULATION


class InlineGrid(Grid):
    """Nodes of a simulation in this process, which answer one message at a time.

    A message is answered when its reply is pulled, in the thread that pulls: a breakpoint in the
    ClientApp stops there. No node is late, so no timeout applies. Each node keeps its Context
    between messages, and an exception of the ClientApp becomes an error reply, as in Flower.

    Messages must come from :meth:`new_message`: Flower's ``Message(content, node, kind)`` needs
    Flower's own runtime. Strategies of this package call it.

    Parameters
    ----------
    app : ClientApp
        Runs on every node.
    clients : int
        Number of clients in the federation, which determines each client's part of the data.
    run_config : Mapping, optional
        Run configuration in each node's Context.
    nodes : int, optional
        Number of nodes, for the first of the clients; by default one for each client.

    Attributes
    ----------
    contexts : dict of int to Context
        Each node's Context by the node's id, which is ``FIRST_NODE`` plus the partition id.
    """

    FIRST_NODE = 1001  # no node's id is a partition id of a small federation
    most_in_flight = 1

    def __init__(
        self,
        app: ClientApp,
        clients: int,
        *,
        run_config: Mapping[str, UserConfigValue] | None = None,
        nodes: int | None = None,
    ) -> None:
        self.app = app
        self._run = InlineRun(secrets.randbits(62))
        self._waiting: dict[str, Message] = {}
        self._logged: set[str] = set()
        self.contexts = {
            self.FIRST_NODE + partition: Context(
                run_id=self._run.run_id,
                node_id=self.FIRST_NODE + partition,
                node_config={"partition-id": partition, "num-partitions": clients},
                state=RecordDict(),
                run_config=dict(run_config or {}),
            )
            for partition in range(clients if nodes is None else nodes)
        }

    def set_run(self, run: Any) -> None:
        """Do nothing: a grid has one run, which it begins itself."""

    @property
    def run(self) -> Any:
        """The :class:`InlineRun`."""
        return self._run

    def new_message(self, content: RecordDict, node: int, kind: str, ttl: float) -> Message:
        """Return a message with complete metadata, which Flower cannot add outside its runtime."""
        return message_outside_a_run(content, node, kind, ttl, self._run.run_id)

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Return a message; Flower requires this method of every Grid."""
        return self.new_message(content, dst_node_id, message_type, ttl or DEFAULT_TTL)

    def get_node_ids(self) -> Iterable[int]:
        """Return the ids of the nodes."""
        return list(self.contexts)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Keep messages until their replies are pulled; return the id of each."""
        sent = {message.metadata.message_id: message for message in messages}
        self._waiting |= sent
        return list(sent)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Answer the first of these messages that is unanswered; return its reply."""
        for message_id in message_ids:
            message = self._waiting.pop(message_id, None)
            if message is not None:
                return [self.answer(message)]
        return []

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Send messages and return all replies; ``timeout`` has no effect."""
        ids = list(self.push_messages(messages))
        return [reply for message_id in ids for reply in self.pull_messages([message_id])]

    def answer(self, message: Message) -> Message:
        """Return the reply to a message, or an error reply if the ClientApp raises."""
        try:
            return self.run_client(message)
        except bdb.BdbQuit:  # a debugger's user ends the run
            raise
        except Exception as error:  # as Flower does
            context = self.contexts[message.metadata.dst_node_id]
            client = context.node_config["partition-id"]
            reason = f"{type(error)}:<'{error}'>"
            # One traceback, where all clients have the same fault.
            first = reason not in self._logged
            self._logged.add(reason)
            log.error("client %s: the ClientApp raised an exception", client, exc_info=first)
            return Message(Error(CLIENT_APP_RAISED, reason), reply_to=message)

    def run_client(self, message: Message) -> Message:
        """Run the ClientApp on a copy of a message, in the Context of the message's node."""
        # Records are copied because a node may change them; their arrays' bytes are shared.
        records = {name: record.copy() for name, record in message.content.items()}
        made: Any = Message  # as in message_outside_a_run
        request = made(RecordDict(records), metadata=message.metadata)
        with simulated_in_this_process():
            return self.app(request, self.contexts[message.metadata.dst_node_id])

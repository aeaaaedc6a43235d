"""Extend the package's in-process Grid by replaceable replies and a count of contents."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.supercore.task_identity import TaskIdentity  # what Flower's runtime sets

from fsl_sage_flwr import public  # noqa: F401 - registers every algorithm
from fsl_sage_flwr.rounds.grid.in_flight import MOST
from fsl_sage_flwr.rounds.grid.inline_grid import InlineGrid

Tamper = Callable[[int, Message], Message | None]


class MemoryGrid(InlineGrid):
    """Run a ClientApp on ``num_nodes`` nodes, in the order of the messages, as they are pushed.

    ``tamper(partition_id, reply)`` may replace a reply, or swallow it by returning None.
    ``node_config`` is what a node's configuration says more, by partition id.
    ``simulated`` makes it a simulation's: its nodes get the app as Ray's actors do; otherwise its
    nodes are those of a deployment.
    ``sent`` and ``received`` hold copies of all contents for a test's byte count.
    """

    most_in_flight = MOST

    def __init__(
        self,
        app: ClientApp,
        num_nodes: int,
        *,
        run_config: dict[str, Any] | None = None,
        tamper: Tamper | None = None,
        node_config: dict[int, dict[str, Any]] | None = None,
        first_node: int = 1000,
        backwards: bool = False,
        simulated: bool = False,
    ) -> None:
        super().__init__(
            sent_to_an_actor(app) if simulated else app, num_nodes, run_config=run_config
        )
        run_id = self.run.run_id
        TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = run_id, 1, 1
        if not simulated:
            self._run = replace(self._run, primary_task_type="flwr-serverapp")
        self._tamper = tamper
        self._backwards = backwards
        self._replies: dict[str, Message] = {}
        self.sent: list[RecordDict] = []
        self.received: list[RecordDict] = []
        self.types: list[tuple[str, int]] = []
        self.partition = {first_node + 37 * i: i for i in range(num_nodes)}
        contexts = zip(self.partition, self.contexts.values(), strict=True)
        self.contexts = {
            node: Context(
                run_id=run_id,
                node_id=node,
                node_config=old.node_config | (node_config or {}).get(self.partition[node], {}),
                state=old.state,
                run_config=old.run_config,
            )
            for node, old in contexts
        }

    def restart_node(self, partition: int, *, new_id: bool) -> None:
        """Start a client's node again: it has forgotten what it knew, and perhaps its id."""
        node = next(node for node, i in self.partition.items() if i == partition)
        old = self.contexts.pop(node)
        if new_id:
            del self.partition[node]
            node = max(self.partition) + 1
            self.partition[node] = partition
        self.contexts[node] = Context(
            run_id=old.run_id,
            node_id=node,
            node_config=old.node_config,
            state=RecordDict(),
            run_config=old.run_config,
        )

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        ids = []
        for message in messages:
            message.metadata.__dict__["_message_id"] = f"{id(message)}-{len(self.types)}"
            node = message.metadata.dst_node_id
            self.sent.append(_copy(message.content))
            self.types.append((message.metadata.message_type, self.partition[node]))
            reply: Message | None = self.answer(message)
            if self._tamper and reply is not None:
                reply = self._tamper(self.partition[node], reply)
            if reply is not None:
                if reply.has_content():
                    self.received.append(_copy(reply.content))
                self._replies[message.metadata.message_id] = reply
            ids.append(message.metadata.message_id)
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        found = [self._replies.pop(i) for i in list(message_ids) if i in self._replies]
        return found[::-1] if self._backwards else found

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        return self.pull_messages(self.push_messages(messages))

    def run_client(self, message: Message) -> Message:
        about = message.metadata
        request = Message(
            _copy(message.content), about.dst_node_id, about.message_type, group_id=about.group_id
        )
        request.metadata.__dict__["_message_id"] = about.message_id
        return self.app(request, self.contexts[about.dst_node_id])


def sent_to_an_actor(app: ClientApp) -> ClientApp:
    """Return the copy of an app that Flower's simulation works with."""
    from ray import cloudpickle  # here, because Ray takes a second to import

    copy: ClientApp = cloudpickle.loads(cloudpickle.dumps(app))
    return copy


def error_instead(reply: Message, reason: str = "the client broke") -> Message:
    """Return what Flower's runtime sends when a ClientApp raises."""
    request = Message(reply.content, reply.metadata.src_node_id, reply.metadata.message_type)
    request.metadata.__dict__["_message_id"] = reply.metadata.reply_to_message_id
    return Message(Error(2, reason), reply_to=request)


def _copy(content: RecordDict) -> RecordDict:
    return RecordDict({name: record.copy() for name, record in content.items()})

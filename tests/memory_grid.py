"""A Grid in this process: nodes are ClientApps called directly, messages are serialized."""

import itertools
import secrets
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity  # what Flower's runtime sets

from fsl_sage_flwr import public  # noqa: F401 - registers every algorithm
from fsl_sage_flwr.rounds.grid.simulation import SIMULATION

# At random, as Flower draws them: the files of two processes' runs are told apart by it.
_run_ids = itertools.count(secrets.randbits(40))
Tamper = Callable[[int, Message], Message | None]


class MemoryGrid(Grid):
    """Run a ClientApp on ``num_nodes`` nodes, in the order of the messages.

    ``tamper(partition_id, reply)`` may replace a reply, or swallow it by returning None.
    ``node_config`` is what a node's configuration says more, by partition id.
    ``simulated`` makes it a simulation's: its nodes get the app as Ray's actors do.
    ``sent`` and ``received`` hold copies of all contents for a test's byte count.
    """

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
        run_id = next(_run_ids)  # a grid is a separate run
        TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = run_id, 1, 1
        self._app = sent_to_an_actor(app) if simulated else app
        self._run = SimpleNamespace(primary_task_type=SIMULATION if simulated else "flwr-serverapp")
        self._tamper = tamper
        self._backwards = backwards
        self._replies: dict[str, Message] = {}
        self.sent: list[RecordDict] = []
        self.received: list[RecordDict] = []
        self.types: list[tuple[str, int]] = []
        self.partition = {first_node + 37 * i: i for i in range(num_nodes)}
        self.contexts = {
            node: Context(
                run_id=run_id,
                node_id=node,
                node_config={
                    "partition-id": i,
                    "num-partitions": num_nodes,
                    **(node_config or {}).get(i, {}),
                },
                state=RecordDict(),
                run_config=run_config or {},
            )
            for node, i in self.partition.items()
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

    def set_run(self, run: Any) -> None:
        raise NotImplementedError

    @property
    def run(self) -> Any:
        return self._run

    def create_message(self, *args: Any, **kwargs: Any) -> Message:
        raise NotImplementedError

    def get_node_ids(self) -> Iterable[int]:
        return list(self.contexts)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        ids = []
        for message in messages:
            message.metadata.__dict__["_message_id"] = f"{id(message)}-{len(self.types)}"
            node = message.metadata.dst_node_id
            self.sent.append(_copy(message.content))
            self.types.append((message.metadata.message_type, self.partition[node]))
            reply = self._answer(message, node)
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

    def _answer(self, message: Message, node: int) -> Message | None:
        about = message.metadata
        request = Message(_copy(message.content), node, about.message_type, group_id=about.group_id)
        request.metadata.__dict__["_message_id"] = about.message_id
        try:
            reply = self._app(request, self.contexts[node])
        except Exception as error:  # noqa: BLE001 - what Flower's runtime does with any error
            reply = Message(Error(2, f"{type(error).__name__}: {error}"), reply_to=request)
        return self._tamper(self.partition[node], reply) if self._tamper else reply


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

"""Build strategies that aggregate asynchronously, and nodes on a virtual clock."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from flwr.app import Message, RecordDict

from fsl_sage_flwr.clock.fleet import Fleet
from fsl_sage_flwr.clock.presence import Presence
from fsl_sage_flwr.messages.reply import count_bytes
from fsl_sage_flwr.rounds.grid.inline_grid import InlineGrid
from fsl_sage_flwr.rounds.grid.virtual_time_grid import VirtualTimeGrid
from fsl_sage_flwr.strategies import AsyncOptions, SplitStrategy

from ...rows import rows
from ...runs import fsl_sage
from ...tasks import CLIENTS, few_batches, small_app
from .strategy_tables import CODED, MAY_BE_LATE, STRATEGIES
from .test_virtual_time import DEVICE, LINK, SLOW

Make = Callable[..., SplitStrategy]
# Each algorithm, and what else is kept for a reply that is in flight: a pool, an optimizer of the
# average, a code.
MAKES: dict[str, Make] = {
    name: {**STRATEGIES, **CODED}[name]
    for name in (*MAY_BE_LATE, "cse_fsl, pooled", "cse_fsl, fedadam", "fsl_sage, coded")
}
every_make = rows("make", MAKES.values(), lambda make: make is fsl_sage, ids=MAKES)
BUFFER = 2


def after(buffer: int = BUFFER, **settings: Any) -> AsyncOptions:
    return AsyncOptions(buffer=buffer, **settings)


@dataclass
class Answer:
    """One message to a client, and its reply."""

    client: int
    kind: str
    asked: RecordDict
    reply: RecordDict
    sent_at: float
    arrives_at: float


class Nodes(VirtualTimeGrid):
    """Nodes on a virtual clock, the last of them slower in all, whose messages a test can read."""

    def __init__(
        self,
        slower: float = 1.0,
        *,
        contexts: Mapping[int, Any] | None = None,
        failing: Iterable[int] = (),
    ) -> None:
        inline = InlineGrid(small_app(train_batches=few_batches), CLIENTS)
        if contexts is not None:
            inline.contexts = dict(contexts)
        link = replace(LINK, latency=LINK.latency * slower)
        own = {SLOW: (replace(DEVICE, factor=slower), link)}
        super().__init__(inline, Fleet(DEVICE, LINK, DEVICE, own=own), Presence())
        self.contexts = inline.contexts
        self.answers: list[Answer] = []
        self.pulled: list[int] = []
        self._failing = set(failing)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        ids = list[str]()
        for message in messages:
            asked = copied(message.content)
            ids += super().push_messages([message])
            arrival = self._arrivals[ids[-1]]
            client = self._client_of(message.metadata.dst_node_id)
            content = arrival.reply.content if arrival.reply.has_content() else RecordDict()
            self.answers.append(
                Answer(
                    client, message.metadata.message_type, asked, copied(content), self.now(),
                    arrival.seconds,
                )
            )  # fmt: skip
            if len(self.answers) - 1 in self._failing:
                arrival.reply.content.clear()
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        found = list(super().pull_messages(message_ids))
        self.pulled += [
            sum(count_bytes(r) for r in reply.content.values())
            for reply in found
            if reply.has_content()
        ]
        return found

    @property
    def trained(self) -> list[Answer]:
        return [answer for answer in self.answers if answer.kind.startswith("train")]


def copied(content: RecordDict) -> RecordDict:
    return RecordDict({name: record.copy() for name, record in content.items()})

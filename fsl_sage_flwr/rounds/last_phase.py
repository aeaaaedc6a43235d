"""The last phase of a round, whose replies count for the average."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

from flwr.app import Message, MessageType

from ..messages import Reply, TrainReply
from .asynchrony.asynchrony import Asynchrony, BusyClient
from .checks import batch_limits
from .checks.norm_outliers import NormOutlierFilter
from .grid.reply_stream import ReplyStream
from .instruction import Instructions, Replies
from .messenger import weights_sent
from .ordered_replies import OrderedReplies
from .reply_spool import ReplySpool
from .round_parts import RoundParts


class LastPhase:
    """Takes each client's last reply, keeps what counts, and releases the tensors.

    Parameters
    ----------
    instructions : Mapping
        By client. Replies are handed over in ascending order, or at each client's own pace.
    parts : RoundParts
        The round's.
    spool : ReplySpool
        Keeps replies' weights until the average.
    problem_with : callable
        From a last reply to the problem with the weights in it, or None.
    asynchrony : Asynchrony, optional
        Ends the phase after its number of replies; others are held for the next round.
    late : Mapping, optional
        Clients that compute since an earlier round; their replies belong to the phase.

    Attributes
    ----------
    clients : list of int
        Clients of the phase, ascending.
    new : frozenset of int
        Clients that get a message of the phase.
    without_message : list of int
        Clients that take part without a message, ascending; the round sets it.
    served : dict of int to TrainReply
        Replies that count, without their tensors, ascending by client.
    weights : dict of int to float
        Weight of each valid reply.
    senders : dict of str to int
        Client of each valid reply, by the id of the message that it answers: the sender that a
        reply names is its own word.
    for_flower : list of Message
        Replies that Flower's loop gets, in order of arrival, errors among them. Not those to
        queries, which precede a client's last message: a strategy around this one may give a
        round up for one error.
    """

    def __init__(
        self,
        instructions: Instructions[Any],
        parts: RoundParts,
        spool: ReplySpool,
        problem_with: Callable[[TrainReply], str | None],
        asynchrony: Asynchrony | None = None,
        late: Mapping[int, BusyClient] | None = None,
    ) -> None:
        self._asynchrony, self._late = asynchrony, late or {}
        waited_for = {client: busy.awaited for client, busy in self._late.items()}
        self.instructions = dict(sorted({**instructions, **waited_for}.items()))
        self.clients = list(self.instructions)
        self.new, self.without_message = frozenset(instructions), list[int]()
        self.served: dict[int, TrainReply] = {}
        self.weights: dict[int, float] = {}
        self.senders: dict[str, int] = {}
        self.for_flower: list[Message] = []
        self._parts, self._spool, self._problem_with = parts, spool, problem_with
        self._messenger, self._exclusions = parts.messenger, parts.exclusions
        self._outliers = NormOutlierFilter(parts.settings.max_update_ratio)
        self._compares = parts.settings.max_update_ratio > 0
        self._order = OrderedReplies(self.clients, self._is_ready)

    @property
    def quorum_reached(self) -> bool:
        """Whether enough replies are valid not to wait for the others."""
        if self._asynchrony is not None:
            return len(self.senders) >= self._asynchrony.options.buffer
        return self._messenger.is_quorum(len(self.senders), len(self.clients))

    def in_order(self, stream: ReplyStream) -> Replies[TrainReply]:
        """Iterate over the valid replies, ascending by client."""
        for request, reply in stream:
            self._take(request, reply)
            if not self._compares:
                yield from self._serve()
        self._exclude()
        yield from self._serve()

    def at_own_pace(self, stream: ReplyStream) -> Replies[Reply]:
        """Iterate over the valid replies but each client's last, as they arrive."""
        for request, reply in stream:
            taken = self._take(request, reply)
            if taken is not None:
                yield taken
                client = taken[0]
                if client not in self.instructions and client not in self._exclusions.reasons:
                    raise RuntimeError(f"client {client} got no message: call round_.send")
            if not self._compares:
                _exhaust(self._serve())
        self._exclude()
        _exhaust(self._serve())

    def close(self) -> None:
        """Release the replies.

        Flower's loop holds its list until it has the next round's: a thousand models twice.
        """
        self.instructions.clear()
        self.for_flower.clear()
        self._order = OrderedReplies(())

    def _take(self, request: Message, reply: Message) -> tuple[int, Reply] | None:
        """Open a reply; keep it if it is its client's last, or else return it if it is valid."""
        if request.metadata.message_type.partition(".")[0] != MessageType.QUERY:
            self.for_flower.append(reply)
        client = self._messenger.client_of.get(request.metadata.dst_node_id)
        if client is None or client not in self.instructions:  # a wrapper's own message
            return None
        instruction = self.instructions.pop(client)
        late = self._late.get(client)
        decoder = None if late is None else late.decoder
        answer = self._messenger.read_reply(client, instruction, reply, decoder)
        if answer is None:
            return None
        is_last = isinstance(answer, TrainReply)
        sent = weights_sent(instruction, self._parts.client_half) if late is None else late.sent
        self._outliers.record(client, answer, sent, is_last=is_last)
        if not isinstance(answer, TrainReply):
            return client, answer
        metrics = reply.content.metric_records["metrics"]
        self.weights[client] = float(cast(float, metrics[self._parts.settings.weighted_by]))
        self.senders[reply.metadata.reply_to_message_id] = client
        self._spool.add(reply.content)
        if client not in self._parts.batches:
            self._parts.batches.record(client, _uploaded(answer))
        self._order.add(client, answer)
        return None

    def _is_ready(self, client: int, reply: TrainReply) -> bool:
        """Exclude a client with too many batches; wait while other clients' are unknown."""
        if _uploaded(reply) <= batch_limits.ALWAYS_TAKEN:
            return True
        absent = sum(other not in self._exclusions.reasons for other in self._order.absent)
        problem = self._parts.batches.problem_with(_uploaded(reply), absent)
        if problem is not None and not absent:
            self._exclusions.add(client, problem)
        return problem is None or not absent

    @property
    def held(self) -> list[int]:
        """Clients whose replies the next round is to get."""
        return self._messenger.held(self.instructions)

    def _exclude(self) -> None:
        if self._asynchrony is not None:
            self._order.drop(self.held)
        self._messenger.exclude_missing(self._order.absent, len(self.senders), len(self.clients))
        self._messenger.exclude_outliers(self._outliers)

    def _serve(self) -> Replies[TrainReply]:
        """Iterate over the replies whose turn has come, if their weights are sound."""
        excluded = self._exclusions.reasons
        for client, reply in self._order.take(excluded):
            problem = self._problem_with(reply)
            if problem is None:
                yield client, self._without_dropped(client, reply)
            else:
                why = f"the weights that it sent {problem}"
                self._exclusions.add(client, why, not_finite=True)
            if client not in excluded:
                self.served[client] = reply.without_tensors()

    def _without_dropped(self, client: int, reply: TrainReply) -> TrainReply:
        late = self._asynchrony
        return reply if late is None else late.without_dropped(client, reply)


def _uploaded(reply: TrainReply) -> int:
    """Return the number of batches in a reply."""
    return 0 if reply.smashed is None else len(reply.smashed.batch_sizes)


def _exhaust(replies: Iterator[Any]) -> None:
    deque(replies, maxlen=0)

"""The replies to a round's messages, as they arrive."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from flwr.app import Error, Message

from .late_replies import OnLate
from .split_grid import SplitGrid
from .stop_watch import StopWatch

SHORTEST_PAUSE = 0.015
LONGEST_PAUSE = 0.5
PAUSE_SHARE = 0.1  # the next wait, as a share of the time since the last reply arrived

# Times the timeout without any reply, after which unsent messages are not sent.
SILENT_TIMEOUTS = 3


class ReplyStream:
    """Send messages and iterate over (request, reply) in the order in which replies arrive.

    Flower's ``send_and_receive`` returns when the last reply has arrived. A stream is consumed
    while other clients still compute, and its consumer may answer a node with the next message
    (:meth:`send`). It ends when all replies have arrived, the quorum is reached or time is up;
    replies that are then missing are late.

    Neither the timeout nor a node's seconds contain the time in which messages are made and
    sent, or in which the consumer computes: a busy server makes no client late. A message that
    is refused is answered at once, with an error.

    In a simulation a message whose time is up keeps its place in the limit on in-flight messages
    until its reply arrives or the same time has passed again: an actor may still compute. After
    ``SILENT_TIMEOUTS`` timeouts without any reply, unsent messages are not sent.

    Parameters
    ----------
    grid : SplitGrid
        Sends and receives.
    messages : iterable of Message
        At most one per node; each is made when it is sent.
    quorum_reached : callable
        Tells whether the missing replies need not be waited for.
    timeout : float or None
        Seconds to wait for each reply; None waits as long as the message lives.
    on_late : callable, optional
        Called with (request, reply) for a late reply, when nodes are looked for next.
    most_at_once : int, optional
        Largest number of in-flight messages in a simulation.
    holds : bool
        Replies beyond the quorum, and those that are missing when it is reached, are held for the
        next stream that holds: it hands them over, with the seconds waited so far, as if it had
        sent their messages.
    """

    def __init__(
        self,
        grid: SplitGrid,
        messages: Iterable[Message],
        quorum_reached: Callable[[], bool] = lambda: False,
        *,
        timeout: float | None = None,
        on_late: OnLate | None = None,
        most_at_once: int | None = None,
        holds: bool = False,
    ) -> None:
        self._grid, self._quorum_reached, self._holds = grid, quorum_reached, holds
        self._timeout, self._on_late, self._most_at_once = timeout, on_late, most_at_once
        self._unmade, self._made = iter(messages), list[Message]()
        self._next = list[Message]()
        self._refused = deque[tuple[Message, Message]]()
        self._pending = dict[str, tuple[Message, float]]()
        self._overdue = set[str]()
        self._watch = StopWatch(grid.now)

    def send(self, message: Message) -> None:
        """Send the next message to the node of the latest reply."""
        self._next.append(message)

    def __iter__(self) -> Iterator[tuple[Message, Message]]:
        """Iterate over (request, reply); once."""
        self._grid.sent_to = set()
        if self._grid.under_way is not None:
            self._grid.under_way.begin(self._most_at_once)
        try:
            yield from self._receive()
        finally:
            for message_id in list(self._pending):
                if self._holds:
                    message, sent = self._pending.pop(message_id)
                    self._grid.late.hold(message_id, message, self._watch.seconds() - sent)
                else:
                    self._give_up(message_id)

    def _receive(self) -> Iterator[tuple[Message, Message]]:
        watch, limit = self._watch, self._grid.under_way
        held = self._resume()
        unsent = self._send_more()
        yield from self._hand_over_refused()
        for message_id, arrived in held.items():
            yield from self._arrived(message_id, *arrived)
        heard_at = watch.seconds()
        while (self._pending or unsent) and not self._quorum_reached():
            looked_at = watch.seconds()
            ids = list(self._pending)
            replies = list(self._grid.pull_messages(ids)) if ids else []
            for reply in replies:
                message_id = reply.metadata.reply_to_message_id
                request, sent = self._pending.pop(message_id, (None, 0.0))
                if request is not None:  # it is None for a second reply to the same message
                    seconds = watch.seconds() - sent
                    yield from self._arrived(message_id, request, seconds, reply)
            heard = len(replies)
            if limit is not None:
                limit.record_answers(heard)
            if self._overdue and unsent:
                heard += self._grid.take_late_replies()
                self._overdue.intersection_update(self._grid.late.message_ids)
            self._give_up_overdue(looked_at)
            if unsent:
                unsent = self._send_more()
                yield from self._hand_over_refused()
            if heard:
                heard_at = watch.seconds()
                continue
            silent = watch.seconds() - heard_at
            timeout = self._timeout
            if not self._pending and timeout is not None and silent >= SILENT_TIMEOUTS * timeout:
                return
            if self._pending or unsent:
                pause = min(LONGEST_PAUSE, max(SHORTEST_PAUSE, PAUSE_SHARE * silent))
                self._grid.wait(pause, self._next_timeout())

    def _resume(self) -> dict[str, tuple[Message, float, Message]]:
        """Wait for the held messages again; return those whose replies have arrived."""
        arrived = dict[str, tuple[Message, float, Message]]()
        if not self._holds:
            return arrived
        for message_id, held in self._grid.late.resume().items():
            self._grid.sent_to.add(held.request.metadata.dst_node_id)
            if held.reply is None:
                self._pending[message_id] = held.request, self._watch.seconds() - held.seconds
            else:
                arrived[message_id] = held.request, held.seconds, held.reply
        return arrived

    def _arrived(
        self, message_id: str, request: Message, seconds: float, reply: Message
    ) -> Iterator[tuple[Message, Message]]:
        """Hand a reply over, or hold it if the quorum is reached."""
        if self._holds and self._quorum_reached():
            self._grid.late.hold(message_id, request, seconds, reply)
            return
        self._grid.add_seconds(request, seconds)
        yield from self._hand_over(request, reply)
        yield from self._hand_over_refused()

    def _hand_over(self, request: Message, reply: Message) -> Iterator[tuple[Message, Message]]:
        with self._watch.stopped():
            yield request, reply
        following, self._next = self._next, []
        if following:
            self._push(following)

    def _hand_over_refused(self) -> Iterator[tuple[Message, Message]]:
        while self._refused:
            yield from self._hand_over(*self._refused.popleft())

    def _push(self, messages: list[Message]) -> None:
        with self._watch.stopped():
            results = self._grid.push(messages)
        now = self._watch.seconds()
        for message, result in zip(messages, results, strict=True):
            self._grid.sent_to.add(message.metadata.dst_node_id)
            if isinstance(result, Error):
                self._refused.append((message, Message(result, reply_to=message)))
            else:
                self._pending[result] = message, now

    def _send_more(self) -> bool:
        """Send as many messages as the limit allows; tell whether any is unsent."""
        room, made = None, self._made
        if self._grid.under_way is not None:
            room = self._grid.under_way.limit - len(self._pending) - len(self._overdue)
            room = max(room, 0)
        with self._watch.stopped():  # one more than there is room for tells whether any is left
            made.extend(islice(self._unmade, None if room is None else room + 1 - len(made)))
        now, made[:] = made[:room], [] if room is None else made[room:]
        if now:
            self._push(now)
        return bool(made)

    def _next_timeout(self) -> float | None:
        """Return when the first message in flight is overdue, on the Grid's clock."""
        if self._timeout is None or not self._pending:
            return None
        first = min(sent for _, sent in self._pending.values())
        return self._grid.now() + first + self._timeout - self._watch.seconds()

    def _give_up_overdue(self, now: float) -> None:
        if self._timeout is None:
            return
        for message_id, (_, sent) in list(self._pending.items()):
            if now - sent >= self._timeout:
                self._give_up(message_id)
                self._overdue.add(message_id)

    def _give_up(self, message_id: str) -> None:
        """Stop waiting for a reply; its node gets no message until it comes or is too late.

        A node works on one message at a time: given another, it would fall behind for good in
        rounds that do not wait for the slowest. After the timeout it may get one: whether it
        still computes is unknown. A simulation waits for the same time again, as its actor may.
        """
        message, sent = self._pending.pop(message_id)
        seconds = self._watch.seconds() - sent
        self._grid.add_seconds(message, seconds)
        if self._timeout is None:
            left = message.metadata.ttl
        elif self._grid.under_way is not None:
            left = self._timeout
        else:
            left = max(self._timeout - seconds, 0.0)
        self._grid.late.add(message_id, message, left, self._on_late)

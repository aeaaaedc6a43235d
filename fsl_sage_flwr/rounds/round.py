"""One round, as an algorithm sees it."""

from collections import deque
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, cast

from torch import Tensor

from ..messages import PackedWeights, SmashedSpec, TrainReply
from ..state import State, Transaction
from .asking import replies_to
from .asynchrony.asynchrony import Asynchrony
from .grid.reply_stream import ReplyStream
from .instruction import Instruction, Instructions, Replies, ReplyT
from .last_phase import LastPhase
from .metrics.round_figures import RoundFigures
from .metrics.round_summary import RoundSummary, StepLoss
from .refused_work import NotFiniteWorkError, RefusedWorkError
from .round_parts import RoundParts

RoundBody = Generator[None, ReplyStream, None]
"""An algorithm's ``train_round``: it stops once, in ``yield from round_.finish(…)``."""


class Round:
    """What an algorithm's ``train_round`` reads, sends and iterates over in one round.

    It iterates over replies: of :meth:`ask`, within the round, and of :meth:`finish` or
    :meth:`finish_at_own_pace`, whose messages and replies pass through Flower's own loop. An
    ``OpenRound`` makes its parts, and opens and closes it.

    Parameters
    ----------
    number : int
        Round ``t``, from 0.
    clients : list of int
        Partition ids of the clients that take part, ascending.
    parts : RoundParts
        Weights and settings, messages, exclusions and batches.
    figures : RoundFigures
        Losses, seconds and bytes.
    trained_on : Mapping
        Node on which each client has trained before in this run.
    undo_states : Transaction
        The strategy's states as they were before the round.
    last_phase_of : callable
        From the last messages to the phase in which they are answered.
    asynchrony : Asynchrony, optional
        Merges replies to earlier rounds.

    Attributes
    ----------
    last_phase : LastPhase or None
        The phase whose replies count for the average, once it has begun.
    """

    def __init__(
        self,
        number: int,
        clients: list[int],
        parts: RoundParts,
        figures: RoundFigures,
        trained_on: Mapping[int, int],
        undo_states: Transaction,
        last_phase_of: Callable[[Instructions[Any]], LastPhase],
        asynchrony: Asynchrony | None = None,
    ) -> None:
        self.number, self.clients, self.settings = number, clients, parts.settings
        self.figures, self.undo_states = figures, undo_states
        self.last_phase: LastPhase | None = None
        self._parts, self._messenger, self._exclusions = parts, parts.messenger, parts.exclusions
        self._trained_on, self.asynchrony = trained_on, asynchrony
        self._last_phase_of = last_phase_of
        self._client_undo = dict[tuple[State, ...], Transaction]()
        self._stream: ReplyStream | None = None
        self._replies: Replies[Any] = iter(())

    # What an algorithm reads ------------------------------------------------------------

    @property
    def client_half(self) -> PackedWeights:
        """The average at the begin of the round, packed once for all messages."""
        return self._parts.client_half

    @property
    def keep_optimizer_state(self) -> bool:
        """Whether clients keep their optimizers' state from round to round."""
        return self.settings.keep_optimizer_state

    @property
    def smashed(self) -> SmashedSpec:
        """What smashed data must look like."""
        return self.settings.smashed

    @property
    def client_half_like(self) -> Mapping[str, Tensor]:
        """What the weights that are averaged must look like."""
        return self.settings.client_half_like

    @property
    def losses(self) -> list[StepLoss]:
        """Losses of the steps that count for the round's training loss."""
        return self.figures.losses

    @property
    def local_epochs(self) -> int:
        """Passes of a client over its data."""
        return self.settings.batches.task.local_epochs

    @property
    def weighted_by(self) -> str:
        """Key of the metric that replies are weighted by."""
        return self.settings.weighted_by

    @property
    def failures(self) -> dict[int, str]:
        """Excluded clients, with the reason."""
        return self._exclusions.reasons

    @property
    def asked(self) -> list[int]:
        """Clients that take part in the last phase, ascending."""
        return [] if self.last_phase is None else self.last_phase.clients

    @property
    def served(self) -> Mapping[int, TrainReply]:
        """Last replies that count, without their tensors, ascending by client."""
        return {} if self.last_phase is None else self.last_phase.served

    def node_of(self, client: int) -> int:
        """Return the node that runs a client in this round."""
        return self._messenger.nodes[client]

    def has_trained(self, client: int) -> bool:
        """Tell whether the client's node has trained before in this run."""
        return self._trained_on.get(client) == self.node_of(client)

    def staleness_of(self, client: int) -> int:
        """Return the versions of the weights since those that a client's reply started from."""
        return 0 if self.asynchrony is None else self.asynchrony.staleness_of(client)

    def round_of(self, client: int) -> int:
        """Return the round, from 0, of the request that a client's last reply answers."""
        if self.asynchrony is None:
            return self.number
        return self.asynchrony.round_of(client, self.number)

    def upload_weight(self, client: int) -> float:
        """Return the factor of the server's learning rate on a client's smashed data."""
        return 1.0 if self.asynchrony is None else self.asynchrony.upload_weight(client)

    def seconds_of(self, client: int) -> float:
        """Return the seconds of this round that a client took, or its batches took the server."""
        return self.figures.seconds_of(client)

    def is_slow(self, client: int, before: float = 0.0) -> bool:
        """Tell whether a client took longer than a round may, not counting ``before`` seconds."""
        if self.last_phase is not None and client in self.last_phase.without_message:
            return False
        return self.seconds_of(client) - before > self.settings.timeout

    # Excluding --------------------------------------------------------------------------

    def exclude(self, client: int, reason: str) -> None:
        """Exclude a client from the rest of the round, and from its average."""
        self._exclusions.add(client, reason)

    @contextmanager
    def transaction(self, client: int, *states: State) -> Iterator[None]:
        """Undo the work for a client, and exclude it, when its work is refused inside.

        A ``RefusedWorkError`` ends the block: the states, and the round's losses, are then as
        they were before it.
        """
        if states not in self._client_undo:
            named = {str(place): state for place, state in enumerate(states)}
            self._client_undo[states] = Transaction(named)
        undo, losses = self._client_undo[states], len(self.losses)
        undo.save()
        try:
            yield
        except RefusedWorkError as refusal:
            undo.restore()
            del self.losses[losses:]
            not_finite = isinstance(refusal, NotFiniteWorkError)
            self._exclusions.add(client, str(refusal), not_finite=not_finite)

    def record_batches(self, client: int, batches: int) -> None:
        """Record the number of batches that a client has in the round."""
        self._parts.batches.record(client, batches)

    def refuse_many_batches(self, batches: int) -> None:
        """Refuse a client's number of batches so far, compared with the others'.

        Raises
        ------
        RefusedWorkError
            There are too many.
        """
        problem = self._parts.batches.problem_with(batches)
        if problem is not None:
            raise RefusedWorkError(problem)

    def problem_with_upload(
        self, reply: TrainReply, interval: int, epochs: int | None = None
    ) -> str | None:
        """Return the problem with a reply's upload of every ``interval``-th batch.

        ``epochs`` is the number of the client's passes over its data, by default ``local-epochs``.
        """
        if reply.smashed is None:
            return None
        limits = self.settings.batches
        return limits.problem_with_upload(reply.smashed, reply.num_examples, interval, epochs)

    # Iterating over replies -------------------------------------------------------------

    def ask(self, instructions: Instructions[ReplyT]) -> Replies[ReplyT]:
        """Send messages within the round; iterate over the valid replies, ascending by client.

        Each is handed over as soon as all before it have arrived, while other clients still
        compute; where replies are compared (``max_update_ratio``), when all have arrived. A
        missing or invalid reply excludes its client. Nothing is sent before the first
        reply is asked for.
        """
        return replies_to(instructions, self._parts)

    def finish(
        self, instructions: Instructions[TrainReply], *, without_message: Collection[int] = ()
    ) -> Generator[None, ReplyStream, Replies[TrainReply]]:
        """Send the last messages; iterate over the valid replies, ascending by client.

        ``yield from`` this, once, at the end of ``train_round``: there the round stops until
        Flower's loop has sent the messages. Each reply is handed over as those of :meth:`ask`
        are. Clients whose replies are handed over, and that are not excluded meanwhile, count
        for the average; so do replies that ``train_round`` does not iterate over.

        Parameters
        ----------
        instructions : Mapping
            The last messages, by client.
        without_message : collection of int
            Clients that take part without a message, because the server has their smashed data.
            They count for ``min_train_nodes``, and the server's seconds on their batches do not
            count towards ``round_timeout``.
        """
        last = self._begin_last_phase(instructions)
        last.without_message = sorted(without_message)
        self._stream = yield
        self._replies = replies = last.in_order(self._stream)
        return replies

    def finish_at_own_pace(
        self, instructions: Instructions[ReplyT]
    ) -> Generator[None, ReplyStream, Replies[ReplyT]]:
        """Do as :meth:`finish` where no client waits for another.

        Replies are handed over as they arrive. Each is answered by :meth:`send`, unless its
        client is excluded. A client's last reply, a ``TrainReply``, counts for the average and
        is not handed over.
        """
        last = self._begin_last_phase(instructions)
        self._stream = yield
        self._replies = replies = cast(Replies[ReplyT], last.at_own_pace(self._stream))
        return replies

    def send(self, client: int, instruction: Instruction[Any]) -> None:
        """Answer a reply of :meth:`finish_at_own_pace` with the client's next message."""
        if self.last_phase is None or self._stream is None:
            raise RuntimeError("round_.send is for replies of round_.finish_at_own_pace")
        self.last_phase.instructions[client] = instruction
        self._stream.send(self._messenger.message(client, instruction))

    def _begin_last_phase(self, instructions: Instructions[Any]) -> LastPhase:
        if self.last_phase is not None:
            raise RuntimeError("train_round finishes a round once: use round_.ask before that")
        self.last_phase = self._last_phase_of(instructions)
        return self.last_phase

    # Figures ----------------------------------------------------------------------------

    @property
    def summary(self) -> RoundSummary:
        """Figures of the round as a whole."""
        return self.figures.summary

    def server_time(self, client: int | None = None) -> AbstractContextManager[None]:
        """Count the time of a block as training of the server half, on a client's batches.

        ``client`` is None for batches of several clients.
        """
        return self.figures.server_time(client)

    # The end ----------------------------------------------------------------------------

    def take_remaining(self) -> None:
        """Take the last replies that ``train_round`` has not iterated over."""
        deque(self._replies, maxlen=0)

    def close(self) -> None:
        """Release replies and copies; the figures stay."""
        self._stream, self._replies = None, iter(())
        self.undo_states.close()
        self._client_undo.clear()
        self._parts.client_half = PackedWeights()
        if self.last_phase is not None:
            self.last_phase.close()

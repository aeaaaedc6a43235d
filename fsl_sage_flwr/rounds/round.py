"""One round, from its clients' first message to the average."""

from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, cast

from flwr.app import ArrayRecord, ConfigRecord, Message
from torch import Tensor

from ..compression.server import DeltaSync
from ..messages import PackedWeights, SmashedSpec, TrainReply
from ..state import State, Transaction
from .asking import replies_to
from .asynchrony.asynchrony import Asynchrony, BusyClient, awaited
from .checks.batch_limits import BatchCounts
from .clients.client_registry import ClientRegistry
from .exclusions import Exclusions
from .grid.reply_stream import ReplyStream
from .grid.split_grid import SplitGrid
from .instruction import Instruction, Instructions, Replies, ReplyT
from .last_phase import LastPhase
from .messenger import Messenger, weights_sent
from .metrics.client_round import ClientRound
from .metrics.federated_evaluation import FederatedEvaluation
from .metrics.round_figures import RoundFigures
from .metrics.round_summary import RoundSummary, StepLoss
from .metrics.sample_uploads import SampleUploads
from .refused_work import NotFiniteWorkError, RefusedWorkError
from .reply_spool import ReplySpool
from .settings import RoundSettings

RoundBody = Generator[None, ReplyStream, None]
"""An algorithm's ``train_round``: it stops once, in ``yield from round_.finish(…)``."""


class Round:
    """All that lives for one round; it is closed when the round has ended or is undone.

    An algorithm's ``train_round`` iterates over replies: of :meth:`ask`, within the round, and
    of :meth:`finish` or :meth:`finish_at_own_pace`, whose messages and replies pass through
    Flower's own loop.

    Parameters
    ----------
    number : int
        Round ``t``, from 0.
    clients : list of int
        Partition ids of the clients that take part, ascending.
    arrays : ArrayRecord
        The average at the begin of the round, as Flower hands it over.
    config : ConfigRecord
        Configuration that Flower and its wrappers send along.
    grid : SplitGrid
        Sends messages and receives replies.
    registry : ClientRegistry
        Which node runs which client.
    settings : RoundSettings
        What the strategy demands of all its rounds.
    states : Mapping
        The strategy's states by name; they are saved here, and restored by :meth:`undo`.
    downlink : DeltaSync
        What nodes hold of earlier messages, and how messages are coded.
    uploads : SampleUploads
        How often samples were uploaded in the run.
    spool : ReplySpool
        Keeps replies' weights until the average.
    problem_with : callable
        From a last reply to what is wrong with the weights in it, or None.
    asynchrony : Asynchrony, optional
        Merges replies to earlier rounds, and ends the round after its number of replies.
    version : int
        Number of rounds that have counted: the version of the weights.

    Attributes
    ----------
    client_half : PackedWeights
        The average, packed once for all messages.
    figures : RoundFigures
        Losses, seconds and bytes.
    evaluation : FederatedEvaluation or None
        The clients' evaluation after the round, while it lasts.
    undo_states : Transaction
        The strategy's states as they were before the round.
    """

    def __init__(
        self,
        number: int,
        clients: list[int],
        arrays: ArrayRecord,
        config: ConfigRecord,
        grid: SplitGrid,
        registry: ClientRegistry,
        settings: RoundSettings,
        states: Mapping[str, State],
        downlink: DeltaSync,
        uploads: SampleUploads,
        spool: ReplySpool,
        problem_with: Callable[[TrainReply], str | None],
        asynchrony: Asynchrony | None = None,
        version: int = 0,
    ) -> None:
        self.number, self.clients, self.settings = number, clients, settings
        self.asynchrony, self._version = asynchrony, version
        self._late = {} if asynchrony is None else asynchrony.begin(version)
        self.client_half = PackedWeights(arrays.to_torch_state_dict())
        self.is_open = True
        self.evaluation: FederatedEvaluation | None = None
        self._states = states
        self.undo_states = Transaction(states)
        self.undo_states.save()
        self._client_undo = dict[tuple[State, ...], Transaction]()
        self._sent, self._grid, self._registry = arrays, grid, registry
        self._spool, self._problem_with = spool, problem_with
        self._nodes = {client: registry.nodes[client] for client in clients}
        self._nodes |= {client: busy.node for client, busy in self._late.items()}
        self.figures = RoundFigures(number + 1, self._nodes, grid.new_round(), registry, uploads)
        self._exclusions = Exclusions(number + 1, self.summary.failures)
        self._batches = BatchCounts(self.failures)
        self._messenger = Messenger(
            grid, self._nodes, config, settings, downlink, uploads, self._exclusions
        )
        self._body: RoundBody | None = None
        self._last: LastPhase | None = None
        self._new = frozenset[int]()  # clients that get a message of the last phase
        self._without_message = list[int]()
        self._stream: ReplyStream | None = None
        self._replies: Replies[Any] = iter(())
        self._chosen: list[int] | None = None

    # What an algorithm reads ------------------------------------------------------------

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
    def blamed(self) -> dict[int, str]:
        """Excluded clients that failed: not those that were late or got no message."""
        return self._exclusions.blamed

    @property
    def asked(self) -> list[int]:
        """Clients that take part in the last phase, ascending."""
        return [] if self._last is None else self._last.clients

    @property
    def without_message(self) -> list[int]:
        """Clients that take part without a message and are not excluded, ascending."""
        return [client for client in self._without_message if client not in self.failures]

    @property
    def served(self) -> Mapping[int, TrainReply]:
        """Last replies that count, without their tensors, ascending by client."""
        return {} if self._last is None else self._last.served

    @property
    def weights(self) -> dict[int, float]:
        """Weight of each client in the average, ascending by client."""
        last = self._last_phase
        averaged = last.served if self._chosen is None else self._chosen
        return {client: last.weights[client] for client in averaged}

    @property
    def arrays(self) -> ArrayRecord:
        """The average at the begin of the round, as Flower handed it over."""
        return self._sent

    def node_of(self, client: int) -> int:
        """Return the node that runs a client in this round."""
        return self._nodes[client]

    def has_trained(self, client: int) -> bool:
        """Tell whether the client's node has trained before in this run."""
        return self._registry.trained_on.get(client) == self._nodes[client]

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
        if client in self._without_message:
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
        self._batches.record(client, batches)

    def refuse_many_batches(self, batches: int) -> None:
        """Refuse a client's number of batches so far, compared with the others'.

        Raises
        ------
        RefusedWorkError
            There are too many.
        """
        problem = self._batches.problem_with(batches)
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
        return replies_to(
            instructions, self._messenger, self.client_half, self.failures, self.settings
        )

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
        self._without_message = sorted(without_message)
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
        if self._last is None or self._stream is None:
            raise RuntimeError("round_.send is for replies of round_.finish_at_own_pace")
        self._last.instructions[client] = instruction
        self._stream.send(self._messenger.message(client, instruction))

    def _begin_last_phase(self, instructions: Instructions[Any]) -> LastPhase:
        if self._last is not None:
            raise RuntimeError("train_round finishes a round once: use round_.ask before that")
        self._new = frozenset(instructions)
        self._last = LastPhase(
            instructions,
            self._messenger,
            self._exclusions,
            self._batches,
            self.settings,
            self.client_half,
            self._spool,
            self._problem_with,
            self.asynchrony,
            self._late,
        )
        return self._last

    # Between the algorithm and Flower's loop --------------------------------------------

    def begin(self, body: RoundBody) -> Iterator[Message]:
        """Run an algorithm's ``train_round`` up to its last phase; return the messages of that.

        Raises
        ------
        RuntimeError
            It has none.
        """
        self._body = body
        try:
            next(body)
        except StopIteration:
            raise RuntimeError(
                "train_round ended without `yield from round_.finish(…)`, which sends the "
                "messages whose replies are averaged"
            ) from None
        instructions = self._last_phase.instructions
        new = {client: instructions[client] for client in instructions if client in self._new}
        return self._undoing(self._messenger.messages(new))

    def receive(self, messages: Iterable[Message], timeout: float | None) -> list[Message]:
        """Resume ``train_round`` with the replies to its last messages, and run it to its end.

        Returns
        -------
        list of Message
            The replies for Flower's loop; until the round is closed.
        """
        if self._body is None:
            raise RuntimeError("the round has no messages to send; call configure_train")
        last = self._last_phase
        stream = ReplyStream(
            self._grid,
            messages,
            lambda: last.quorum_reached,
            timeout=timeout,
            most_at_once=self.settings.most_at_once,
            holds=self.asynchrony is not None,
        )
        try:
            self._body.send(stream)
        except StopIteration:
            deque(self._replies, maxlen=0)  # those that it did not iterate over
        if self.asynchrony is not None:
            self.asynchrony.keep(self._busy(last))
        return last.for_flower

    def _busy(self, last: LastPhase) -> dict[int, BusyClient]:
        """Return the clients that still compute, with what their replies will need."""
        files = dict[int, Mapping[str, Tensor]]()  # the clients of a round start from one average

        def filed(weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
            if id(weights) not in files:
                files[id(weights)] = self._spool.folder.write(weights)
            return files[id(weights)]

        found = {}
        for client in last.held:
            if client in self._late:
                found[client] = self._late[client]
                continue
            instruction = last.instructions[client]
            sent = weights_sent(instruction, self.client_half)
            expected = instruction.expected.weights
            trained = sent.keys() if expected is None else expected.keys() & sent.keys()
            found[client] = BusyClient(
                self._nodes[client],
                awaited(instruction),
                {record: filed(sent[record]) for record in sorted(trained) if sent[record]},
                self._messenger.decoder(client),
                self._version,
                self.number,
            )
        return found

    @contextmanager
    def undone_on_error(self) -> Iterator[None]:
        """Undo the round when an error ends the block."""
        try:
            yield
        except BaseException:
            self.undo()
            raise

    def _undoing(self, messages: Iterator[Message]) -> Iterator[Message]:
        with self.undone_on_error():
            yield from messages

    @property
    def _last_phase(self) -> LastPhase:
        if self._last is None:
            raise RuntimeError("the round has no last phase yet: call round_.finish")
        return self._last

    # The end ----------------------------------------------------------------------------

    def undo(self) -> None:
        """Restore the strategy's states as they were before the round, and close it."""
        if self.is_open:
            self.undo_states.restore()
            self.close()

    def counted(self, replies: Iterable[Message]) -> dict[int, Message]:
        """Return the messages of Flower's loop that count for the average, ascending by client."""
        last = self._last_phase
        by_client = {last.senders.get(r.metadata.reply_to_message_id): r for r in replies}
        return {client: by_client[client] for client in last.served if client in by_client}

    def refuse_divergence(self) -> None:
        """End the run when no client's work was finite.

        Raises
        ------
        DivergedError
            All of the round's clients are excluded as not finite.
        """
        self._exclusions.refuse_divergence({*self.clients, *self._late})

    def average_only(self, chosen: list[int]) -> None:
        """Average the work of these clients alone, of those whose replies count."""
        self._chosen = chosen

    def record(self, counted: Mapping[int, Message], arrays_key: str | None) -> None:
        """Record the number of clients, and the examples and update norm of each reply's client.

        ``arrays_key`` is the record of the trained weights; None where clients train none.
        """
        weights = self._last_phase.weights
        late = {c: busy.sent for c, busy in self._late.items() if c in counted}
        self.figures.record_updates(self._sent, counted, weights, arrays_key, late)
        self.summary.clients = len(counted) + len(self.without_message)

    def close(self) -> None:
        """Release replies and copies; the figures stay."""
        for state in self._states.values():
            state.forget(self.failures)
        self.is_open = False
        self._body, self._stream, self._replies = None, None, iter(())
        self.undo_states.close()
        self._client_undo.clear()
        self._sent, self.client_half = ArrayRecord(), PackedWeights()
        if self._last is not None:
            self._last.close()
        self._spool.close()

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

    def take_late_replies(self) -> int:
        """Count the bytes of late replies; return how many have not arrived."""
        self._grid.take_late_replies()
        return self._grid.late.missing

    def client_rows(self) -> list[ClientRound]:
        """Return the figures of each client, by partition id; an evaluation adds to them.

        A client that computes all the round long for an earlier one has no row.
        """
        took_part = [*self.asked, *self._without_message]
        staleness = None
        if self.asynchrony is not None:
            took_part = [c for c in took_part if c in self._new or self.figures.has_traffic(c)]
            staleness = self.staleness_of
        return self.figures.client_rows(took_part, staleness)

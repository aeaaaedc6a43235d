"""One round between Flower's hooks: from its clients' messages to the average."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

from flwr.app import ArrayRecord, ConfigRecord, Message
from torch import Tensor

from ..compression.server import DeltaSync
from ..messages import PackedWeights, TrainReply
from ..state import State, Transaction
from .asynchrony.asynchrony import Asynchrony, BusyClient, awaited
from .checks.batch_limits import BatchCounts
from .clients.client_registry import ClientRegistry
from .exclusions import Exclusions
from .grid.reply_stream import ReplyStream
from .grid.split_grid import SplitGrid
from .last_phase import LastPhase
from .messenger import Messenger, weights_sent
from .metrics.client_round import ClientRound
from .metrics.federated_evaluation import FederatedEvaluation
from .metrics.round_figures import RoundFigures
from .metrics.round_summary import RoundSummary
from .metrics.sample_uploads import SampleUploads
from .reply_spool import ReplySpool
from .round import Round, RoundBody
from .round_parts import RoundParts
from .round_settings import RoundSettings


class OpenRound:
    """Runs an algorithm's ``train_round`` between Flower's hooks, and owns all that it needs.

    It is open until the round has ended or is undone; then the figures stay.

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
    round : Round
        The round as the algorithm sees it.
    figures : RoundFigures
        Losses, seconds and bytes.
    evaluation : FederatedEvaluation or None
        The clients' evaluation after the round, while it lasts.
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
        self.is_open = True
        self.evaluation: FederatedEvaluation | None = None
        self._states = states
        undo_states = Transaction(states)
        undo_states.save()
        self._sent, self._grid, self._spool = arrays, grid, spool
        self._nodes = {client: registry.nodes[client] for client in clients}
        self._nodes |= {client: busy.node for client, busy in self._late.items()}
        self.figures = RoundFigures(number + 1, self._nodes, grid.new_round(), registry, uploads)
        self._exclusions = Exclusions(number + 1, self.summary.failures)
        self._messenger = Messenger(
            grid, self._nodes, config, settings, downlink, uploads, self._exclusions
        )
        parts = RoundParts(
            PackedWeights(arrays.to_torch_state_dict()),
            settings,
            self._messenger,
            self._exclusions,
            BatchCounts(self.failures),
        )
        last_phase_of = partial(
            LastPhase,
            parts=parts,
            spool=spool,
            problem_with=problem_with,
            asynchrony=asynchrony,
            late=self._late,
        )
        self.round = Round(
            number,
            clients,
            parts,
            self.figures,
            registry.trained_on,
            undo_states,
            last_phase_of,
            asynchrony,
        )
        self._body: RoundBody | None = None
        self._chosen: list[int] | None = None

    @property
    def failures(self) -> dict[int, str]:
        """Excluded clients, with the reason."""
        return self._exclusions.reasons

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
        last = self._last_phase
        new = {c: each for c, each in last.instructions.items() if c in last.new}
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
            self.round.take_remaining()
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
            sent = weights_sent(instruction, self.round.client_half)
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
        if self.round.last_phase is None:
            raise RuntimeError("the round has no last phase yet: call round_.finish")
        return self.round.last_phase

    # The end ----------------------------------------------------------------------------

    def undo(self) -> None:
        """Restore the strategy's states as they were before the round, and close it."""
        if self.is_open:
            self.round.undo_states.restore()
            self.close()

    @property
    def blamed(self) -> dict[int, str]:
        """Excluded clients that failed: not those that were late or got no message."""
        return self._exclusions.blamed

    @property
    def without_message(self) -> list[int]:
        """Clients that take part without a message and are not excluded, ascending."""
        clients = self._last_phase.without_message
        return [client for client in clients if client not in self.failures]

    @property
    def served(self) -> Mapping[int, TrainReply]:
        """Last replies that count, without their tensors, ascending by client."""
        return self.round.served

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
        self.is_open, self._body = False, None
        self._sent = ArrayRecord()
        self.round.close()
        self._spool.close()

    # Figures ----------------------------------------------------------------------------

    @property
    def summary(self) -> RoundSummary:
        """Figures of the round as a whole."""
        return self.figures.summary

    def take_late_replies(self) -> int:
        """Count the bytes of late replies; return how many have not arrived."""
        self._grid.take_late_replies()
        return self._grid.late.missing

    def client_rows(self) -> list[ClientRound]:
        """Return the figures of each client, by partition id; an evaluation adds to them.

        A client that computes all the round long for an earlier one has no row.
        """
        last = self.round.last_phase
        took_part = [] if last is None else [*last.clients, *last.without_message]
        staleness = None
        if self.asynchrony is not None:
            new = () if last is None else last.new
            took_part = [c for c in took_part if c in new or self.figures.has_traffic(c)]
            staleness = self.asynchrony.staleness_of
        return self.figures.client_rows(took_part, staleness)

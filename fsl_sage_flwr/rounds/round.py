"""One round, from the sampling of its clients to the average."""

import logging
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

from flwr.app import ArrayRecord, ConfigRecord, Message
from torch import Tensor

from ..compression.server import DeltaSync
from ..messages import BadReplyError, PackedWeights, SmashedSpec, TrainReply, open_reply
from ..messages.reply import discard
from .aggregation.averaging import weighted_mean
from .checks.batch_limits import ALWAYS_TAKEN, MOST_RULE, BatchLimits, most_batches
from .checks.norm_outliers import NormOutlierFilter, Sent
from .clients.client_registry import ClientRegistry
from .diverged import DivergedError
from .grid.node_traffic import NodeTraffic
from .grid.split_grid import SERVER_TIME, SplitGrid
from .metrics.client_round import ClientRound, update_norm
from .metrics.federated_evaluation import FederatedEvaluation
from .metrics.round_summary import RoundSummary, StepLoss
from .metrics.sample_uploads import SampleUploads
from .question import Question, Questions, ReplyT
from .reply_spool import ReplySpool
from .turns import Turns

log = logging.getLogger("flwr.fsl_sage")

KeptT = TypeVar("KeptT")


@dataclass(frozen=True)
class RoundSettings:
    """What a strategy wants of all its rounds.

    Attributes
    ----------
    timeout : float
        Seconds after which a client that has not answered is left out.
    max_reply_bytes : int
        Bytes of a reply that are taken.
    keep_optimizer_state : bool
        Clients go on with their optimizers' state.
    weighted_by : str
        Key of the metric that replies are weighted by.
    smashed : SmashedSpec
        What smashed data must look like.
    client_half_like : Mapping
        What weights of the record that is averaged must look like.
    fraction_reply : float
        Share of the round's clients whose good answers end the wait for the others.
    max_update_ratio : float
        Largest update, as a multiple of the round's median; 0 checks none. See
        :mod:`~fsl_sage_flwr.rounds.checks.norm_outliers`. Replies are compared before any is
        served, except in SplitFed V1, whose per-client server halves are discarded afterwards.
    batches : BatchLimits
        What a client's batches may be.
    """

    timeout: float
    max_reply_bytes: int
    keep_optimizer_state: bool
    weighted_by: str
    smashed: SmashedSpec
    client_half_like: Mapping[str, Tensor]
    batches: BatchLimits
    fraction_reply: float = 1.0
    max_update_ratio: float = 0.0


class Round:
    """All that lives for one round; it is closed when the round has ended or is undone.

    Parameters
    ----------
    number : int
        Round ``t``, from 0.
    clients : list of int
        Partition ids of the clients that take part, ascending.
    arrays : ArrayRecord
        The average that the round begins with, as Flower hands it over.
    config : ConfigRecord
        What Flower and its wrappers want to send along.
    grid : SplitGrid
        Through which clients are asked.
    roster : ClientRegistry
        Which node runs which client.
    settings : RoundSettings
        What the strategy wants of all its rounds.
    saved : Mapping
        The strategy's parts by name, as they were before the round.
    downlink : DeltaSync
        What nodes hold of what they were sent, and how messages are coded.
    uploads : SampleUploads
        How often samples were uploaded in the run.
    waiting : ReplySpool
        Where replies wait with their weights for the average.

    Attributes
    ----------
    client_half : PackedWeights
        The average, packed once for all messages.
    losses : list of StepLoss
        Of the steps that count for the round's training loss.
    summary : RoundSummary
        The round's figures.
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
        roster: ClientRegistry,
        settings: RoundSettings,
        saved: Mapping[str, Any],
        downlink: DeltaSync,
        uploads: SampleUploads,
        waiting: ReplySpool,
    ) -> None:
        self.number, self.clients, self.settings = number, clients, settings
        self.client_half = PackedWeights(arrays.to_torch_state_dict())
        self.saved = saved
        self.losses: list[StepLoss] = []
        self.summary = RoundSummary(round=number + 1)
        self.is_open = True
        self.evaluation: FederatedEvaluation | None = None
        self._sent, self._config, self._grid, self._roster = arrays, config, grid, roster
        self._downlink, self._uploads, self._waiting = downlink, uploads, waiting
        uploads.begin_round()
        self._nodes = {client: roster.nodes[client] for client in clients}
        self._traffic: Mapping[int, NodeTraffic] = grid.new_round()
        self._questions: dict[int, Question[Any]] = {}
        self._asked: list[int] = []
        self._client_of = {node: client for client, node in self._nodes.items()}
        self._turns: Turns[TrainReply, TrainReply] = Turns((), lambda client, reply: reply)
        self._sender: dict[str, int] = {}
        self._weights: dict[int, float] = {}
        self._chosen: list[int] | None = None
        self._updates: dict[int, tuple[int, float]] = {}
        self._batches: dict[int, int] = {}
        self._server_seconds = defaultdict[int, float](float)
        self._not_finite: set[int] = set()
        self._blameless: set[int] = set()
        self._screening = NormOutlierFilter(settings.max_update_ratio)

    # What a strategy reads --------------------------------------------------------------

    @property
    def keep_optimizer_state(self) -> bool:
        """Whether clients go on with their optimizers' state."""
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
    def local_epochs(self) -> int:
        """Passes of a client over its data."""
        return self.settings.batches.task.local_epochs

    @property
    def weighted_by(self) -> str:
        """Key of the metric that replies are weighted by."""
        return self.settings.weighted_by

    @property
    def failures(self) -> dict[int, str]:
        """Clients that were left out, with the reason."""
        return self.summary.failures

    @property
    def failed(self) -> dict[int, str]:
        """Clients that were left out, but not as not asked, or too slow for ``fraction_reply``."""
        found = self.failures.items()
        return {client: why for client, why in found if client not in self._blameless}

    @property
    def asked(self) -> list[int]:
        """Clients that were to end the round after ``begin``, ascending."""
        return self._asked

    @property
    def weights(self) -> dict[int, float]:
        """What each client whose work is averaged weighs, ascending."""
        averaged = self._turns.served if self._chosen is None else self._chosen
        return {client: self._weights[client] for client in averaged}

    def node_of(self, client: int) -> int:
        """Return the node that runs a client in this round."""
        return self._nodes[client]

    def has_trained(self, client: int) -> bool:
        """Tell whether the client's node has trained before in this run."""
        return self._roster.trained_on.get(client) == self._nodes[client]

    def seconds_of(self, client: int) -> float:
        """Return the seconds of this round that a client took, or its batches took the server."""
        return self._traffic[self._nodes[client]].seconds + self._server_seconds[client]

    def is_slow(self, client: int, before: float = 0.0) -> bool:
        """Tell whether a client took longer than a round may, not counting ``before`` seconds."""
        return self.seconds_of(client) - before > self.settings.timeout

    def note_batches(self, client: int, batches: int) -> None:
        """Take the number of batches that a client has in the round."""
        self._batches[client] = batches

    def leave_out_if_many(self, client: int, batches: int, unknown: int = 0) -> bool:
        """Leave a client out that brings too many batches, compared with the others.

        Parameters
        ----------
        client : int
            Partition id.
        batches : int
            How many it brings.
        unknown : int
            Clients that may still bring some. While there are any, none is left out.

        Returns
        -------
        bool
            Whether it brings too many; with ``unknown`` clients, whether it may be so.
        """
        if batches <= ALWAYS_TAKEN:
            return False
        known = [n for other, n in self._batches.items() if other not in self.failures]
        most = most_batches(known + [0] * unknown)
        if batches > most and not unknown:
            self.leave_out(client, f"{batches} batches; at most {most} are taken: {MOST_RULE}")
        return batches > most

    def problem_with_upload(self, reply: TrainReply, interval: int) -> str | None:
        """Return what is wrong with every ``interval``-th batch, which a reply has brought."""
        if reply.smashed is None:
            return None
        limits = self.settings.batches
        return limits.problem_with_upload(reply.smashed, reply.num_examples, interval)

    def _may_serve(self, client: int, reply: TrainReply) -> bool:
        """Leave a client out that brings too many batches; wait while that is not known."""
        batches = 0 if reply.smashed is None else len(reply.smashed.batch_sizes)
        if batches <= ALWAYS_TAKEN:
            return True
        absent = sum(other not in self.failures for other in self._turns.absent)
        return not self.leave_out_if_many(client, batches, absent) or not absent

    def take_late_replies(self) -> int:
        """Count the bytes of answers that nobody waits for; return how many have not come."""
        self._grid.take_late_replies()
        return len(self._grid.busy_nodes)

    # Asking -----------------------------------------------------------------------------

    def ask(self, questions: Questions[ReplyT]) -> dict[int, ReplyT]:
        """Ask clients something within the round; return the good answers, ascending.

        A client whose answer is missing or bad is left out of the round.
        """
        return self.ask_and_serve(questions, lambda client, answer: answer)

    def ask_and_serve(
        self, questions: Questions[ReplyT], serve: Callable[[int, ReplyT], KeptT]
    ) -> dict[int, KeptT]:
        """Do as :meth:`ask`, and serve the good answers in turn while others are at work.

        Parameters
        ----------
        questions : Mapping
            What each client is asked.
        serve : callable
            Called with (client, answer), ascending, as soon as all before have answered; where
            answers are compared (``max_update_ratio``), when all are there. It returns what is
            kept of the answer.

        Returns
        -------
        dict
            What is kept of the answers, ascending; not of a client whose work was refused.
        """
        turns, good = Turns(questions, serve), set[int]()
        screening = NormOutlierFilter(self.settings.max_update_ratio)

        def receive(request: Message, reply: Message) -> None:
            client = self._client_of[request.metadata.dst_node_id]
            answer = self._open(client, questions[client], reply)
            if answer is not None:
                good.add(client)
                screening.note(client, answer, self._weights_sent(questions[client]))
                turns.take(client, answer)
            if not self.settings.max_update_ratio:
                turns.advance(self.failures)

        self._grid.exchange(
            self._messages(questions),
            receive,
            lambda: self._are_enough(len(good), len(questions)),
            timeout=self.settings.timeout,
        )
        for client in questions:
            if client not in good and client not in self.failures:
                self._leave_out_as_absent(client, len(good), len(questions))
        self._leave_out_who_stands_out(screening)
        turns.advance(self.failures)
        return turns.served

    def send(
        self, questions: Questions[Any], serve: Callable[[int, TrainReply], None]
    ) -> Iterator[Message]:
        """Return the messages that end the round, or that lead to its end by their follow-ups.

        :meth:`receive` has the last replies served in turn.

        When a reply has been served its tensors are let go: a round may have a thousand.
        """

        def serve_and_let_go(client: int, reply: TrainReply) -> TrainReply:
            serve(client, reply)
            return reply.without_tensors()

        self._questions = dict(sorted(questions.items()))
        self._asked = list(self._questions)
        self._turns = Turns(questions, serve_and_let_go, self._may_serve)
        return self._messages(self._questions)

    def receive(self, request: Message, reply: Message) -> Message | None:
        """Take a reply; return what its client is asked next.

        To the last reply that is nothing; all whose turn has come are then served.
        """
        node = request.metadata.dst_node_id
        client = self._client_of.get(node)
        if client not in self._questions:  # none of this round, or the round is closed
            return None
        question = self._questions[client]
        answer, follow_up = self._open(client, question, reply), question.follow_up
        if answer is not None:
            sent = self._weights_sent(question)
            self._screening.note(client, answer, sent, is_last=follow_up is None)
        if answer is not None and follow_up is not None:
            following = follow_up(answer)
            if following is not None:
                self._questions[client] = following
                return self._message(client, following)
        elif answer is not None:
            metrics = reply.content.metric_records["metrics"]
            self._weights[client] = float(cast(float, metrics[self.weighted_by]))
            self._sender[reply.metadata.reply_to_message_id] = client
            self._waiting.add(reply.content)
            uploaded = 0 if answer.smashed is None else len(answer.smashed.batch_sizes)
            self._batches.setdefault(client, uploaded)
            self._turns.take(client, answer)
        del self._questions[client]  # and the gradients in it: a round may have a thousand
        if not self.settings.max_update_ratio:
            self._turns.advance(self.failures)
        return None

    def _messages(self, questions: Questions[Any]) -> Iterator[Message]:
        """Make each message when it is sent: a round may have a thousand."""
        for client in list(questions):
            yield self._message(client, questions[client])

    def _message(self, client: int, question: Question[Any]) -> Message:
        node, kind = self._nodes[client], question.message_type
        content = question.request.pack(self._config, self._downlink.to(client, node))
        self._uploads.note_training(client, self._sample_uploads(question))
        return self._grid.new_message(content, node, kind, self.settings.timeout + SERVER_TIME)

    def _sample_uploads(self, question: Question[Any]) -> int:
        if question.sample_uploads is not None:
            return question.sample_uploads
        return 0 if question.expected.smashed is None else self.local_epochs

    def _open(self, client: int, question: Question[ReplyT], reply: Message) -> ReplyT | None:
        """Open a reply; or refuse it and leave its sender out."""
        try:
            limit = self.settings.max_reply_bytes
            expected = replace(question.expected, incoming=self._downlink.incoming(client))
            answer = open_reply(reply, question.reply, expected, limit)
        except BadReplyError as error:
            self.leave_out(client, str(error))
            return None
        problem = None if question.problem is None else question.problem(answer)
        if problem is not None:
            discard(reply)
            self.leave_out(client, problem)
            return None
        return answer

    def _leave_out_who_stands_out(self, screening: NormOutlierFilter) -> None:
        for client, reason in screening.outliers().items():
            if client not in self.failures:
                self.leave_out(client, reason)

    def _weights_sent(self, question: Question[Any]) -> Sent:
        head = getattr(question.request, "auxiliary", None)
        return {"client_half": self.client_half, "auxiliary": head or {}}

    def leave_out(self, client: int, reason: str) -> None:
        """Leave a client out of the rest of the round, and of its average."""
        self.failures[client] = reason
        log.warning("round %d: client %d is left out: %s", self.number + 1, client, reason)

    def leave_out_as_not_finite(self, client: int, problem: str) -> None:
        """Leave a client out whose work gave, or would leave, values that are not finite."""
        self._not_finite.add(client)
        self.leave_out(client, f"not finite: {problem}")

    def refuse_if_diverged(self) -> None:
        """End the run when no client's work was finite: it is not theirs that is wrong.

        Raises
        ------
        DivergedError
            Every client of the round was left out as not finite.
        """
        if self.clients and self._not_finite == set(self.clients):
            raise DivergedError(
                f"round {self.number + 1} gave no finite value for any of its clients "
                f"(client {self.clients[0]}: {self.failures[self.clients[0]]}); this round is "
                "undone. Lower server-learning-rate or learning-rate"
            )

    def has_enough(self) -> bool:
        """Tell whether so many replies to the last messages are good that nobody is waited for."""
        return self._are_enough(len(self._sender), len(self._asked))

    def _are_enough(self, good: int, asked: int) -> bool:
        share = self.settings.fraction_reply
        return share < 1 and good >= min(asked, math.ceil(share * len(self.clients)))

    def _leave_out_as_absent(self, client: int, good: int, asked: int) -> None:
        if self._are_enough(good, asked):
            self._blameless.add(client)
            self.leave_out(client, f"late: {good} of {asked} had answered")
        elif self._nodes[client] not in self._grid.sent_to:
            self._blameless.add(client)
            self.leave_out(client, "not asked: clients asked before it did not answer in time")
        else:
            self.leave_out(client, f"no reply within {self.settings.timeout:g} s")

    # The end ----------------------------------------------------------------------------

    def finish_replies(self) -> dict[int, Any]:
        """Serve what has come, wait for nobody else; return the replies that count, ascending."""
        for client in self._turns.absent:
            if client not in self.failures:
                self._leave_out_as_absent(client, len(self._sender), len(self._asked))
        self._leave_out_who_stands_out(self._screening)
        self._turns.advance(self.failures)
        return dict(self._turns.served)

    def counted(self, replies: Mapping[str, Message]) -> dict[int, Message]:
        """Return Flower's messages of the replies that count, ascending by client.

        ``replies`` are by the message that each answers: whom a reply says it is from is the
        sender's word.
        """
        by_client = {self._sender.get(key): message for key, message in replies.items()}
        return {c: by_client[c] for c in self._turns.served if c in by_client}

    def average_only(self, chosen: list[int]) -> None:
        """Average these clients' work alone, of the replies that count."""
        self._chosen = chosen

    def note_updates(self, counted: Mapping[int, Message], arrays_key: str) -> None:
        """Measure how far each client's weights have moved."""
        sent = {name: array.numpy() for name, array in self._sent.items()}
        for client, message in counted.items():
            norm = update_norm(sent, message.content.array_records[arrays_key])
            self._updates[client] = int(self._weights[client]), norm
        self.summary.clients = len(counted)

    def note_replies(self, replies: Mapping[int, TrainReply]) -> None:
        """Put the replies' own figures, and the mean loss, into the summary."""
        summary = self.summary
        summary.train_loss = weighted_mean([(step.loss, step.samples) for step in self.losses])
        summary.client_seconds += sum(reply.seconds for reply in replies.values())
        summary.client_step_seconds += sum(reply.step_seconds for reply in replies.values())
        lost = {client for client, reply in replies.items() if reply.optimizer_state_lost}
        if self.keep_optimizer_state:
            # A new node cannot know that its client has trained before on another node.
            before = self._roster.trained_on
            lost |= {c for c in replies if before.get(c, self._nodes[c]) != self._nodes[c]}
        if lost:
            log.warning("clients %s had lost their optimizer state; it began afresh", sorted(lost))
        self._roster.trained_on.update({client: self._nodes[client] for client in replies})

    def close(self) -> None:
        """Let go of replies and copies; the figures stay."""
        self.is_open, self.saved, self._questions = False, {}, {}
        self._turns = Turns((), lambda client, reply: reply)
        self._sent, self.client_half = ArrayRecord(), PackedWeights()
        self._grid.let_go_of_replies()
        self._waiting.close()

    # Figures ----------------------------------------------------------------------------

    @contextmanager
    def server_time(self, client: int) -> Iterator[None]:
        """Count what happens inside as training of the server half, on a client's batches."""
        began = time.perf_counter()
        yield
        seconds = time.perf_counter() - began
        self.summary.server_seconds += seconds
        self._server_seconds[client] += seconds

    def client_rows(self) -> list[ClientRound]:
        """Return what each client did, by partition id; it grows with an evaluation."""
        rows = []
        for client in sorted({*self._asked, *self.failures}):
            node = self._nodes.get(client, self._roster.last_node_of(client))
            examples, norm = self._updates.get(client, (None, None))
            traffic = self._traffic.get(node, NodeTraffic())
            rows.append(
                ClientRound(
                    self.number + 1, client, node, examples, norm, round(traffic.seconds, 3),
                    traffic.down_bytes, traffic.up_bytes, self._uploads.in_round(client),
                    self._uploads.of(client), self.failures.get(client, ""),
                )
            )  # fmt: skip
        return rows

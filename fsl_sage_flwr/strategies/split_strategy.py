"""What every split-learning strategy does alike."""

import logging
import math
import time
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Generic, TypeVar, cast

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg, Result
from numpy.typing import NDArray
from torch import Tensor

from ..messages import (
    EVALUATE_SPLIT,
    BadReplyError,
    CommunicationLedger,
    DeadActorError,
    SmashedBatches,
    SmashedSpec,
    TrainReply,
    WeightsRequest,
    content_of,
    discard,
)
from ..splitting import Evaluation
from ..task import Batch, SplitTask
from .averaging import weighted_mean, with_dtypes_of
from .client_round import ClientRound, NodeTraffic, update_norm
from .evaluation import evaluate_halves, evaluate_server_half, to_record
from .federated_evaluation import FederatedEvaluation
from .roster import Roster
from .round_summary import RoundSummary, StepLoss
from .split_grid import SplitGrid
from .turns import Turns

log = logging.getLogger("flwr.fsl_sage")

# What Flower's wrappers for clipping on the clients put in a request's config.
CLIENT_CLIPPING = "clipping_norm"

Reply = TypeVar("Reply")


class TrainingFailedError(RuntimeError):
    """Too many rounds in a row had too few good replies."""


class DivergedError(RuntimeError):
    """The server half's loss is not finite: there is nothing left to train."""


class SplitStrategy(FedAvg, Generic[Reply]):
    """Flower's FedAvg over the client half, with a server half trained beside it.

    Flower's round loop and arguments are kept. A subclass says what a client is sent,
    how its reply is read, and what the server half does with it: replies are *served* in
    turn, in ascending order of partition id.

    The client's half of the contract: answer ``query.describe`` (see
    :mod:`fsl_sage_flwr.client_apps`), and weight its reply by ``weighted_by_key``.

    Parameters
    ----------
    task : SplitTask
        What is trained. The server half in it is trained in place.
    keep_optimizer_state : bool
        Clients go on with their optimizers' state from round to round.
    round_timeout : float
        Seconds after which a client that has not answered is left out of the round.
    max_failed_rounds : int
        Rounds in a row with fewer than ``min_train_nodes`` good replies that end the run.
    max_reply_bytes : int
        Bytes of a reply that are taken; a larger one is refused unread, and let go.
    **fedavg
        Flower's arguments of ``FedAvg``: ``fraction_train``, ``min_train_nodes``, …
        Here the ``min_…_nodes`` are 1 and ``fraction_evaluate`` is 0 unless given; more
        needs a task with ``validation_batches``.

    Raises
    ------
    ValueError
        ``fraction_evaluate`` is above 0 and the task has no ``validation_batches``.
    """

    message_type: str
    evaluation_type = EVALUATE_SPLIT
    sends_weights_alone = False

    def __init__(
        self,
        task: SplitTask,
        *,
        keep_optimizer_state: bool = True,
        round_timeout: float = 3600.0,
        max_failed_rounds: int = 3,
        max_reply_bytes: int = 2**30,
        **fedavg: Any,
    ) -> None:
        ones = dict.fromkeys(("min_train_nodes", "min_evaluate_nodes", "min_available_nodes"), 1)
        super().__init__(**{**ones, **fedavg})
        if "fraction_evaluate" not in fedavg:
            self.fraction_evaluate, self.min_evaluate_nodes = 0.0, 0
        if fedavg.get("train_metrics_aggr_fn") is None:
            self.train_metrics_aggr_fn = self._train_metrics
        if self.fraction_evaluate > 0 and task.validation_batches is None:
            raise ValueError(
                f"fraction_evaluate = {self.fraction_evaluate:g} needs a task whose clients have "
                "a validation part: give SplitTask validation_batches, or set it to 0"
            )
        self.task = task
        self.keep_optimizer_state = keep_optimizer_state
        self.round_timeout = round_timeout
        self.max_failed_rounds = max_failed_rounds
        self.max_reply_bytes = max_reply_bytes
        self.ledger = CommunicationLedger()
        self.roster = Roster()
        self.rounds_done = 0
        self.last_round = RoundSummary(round=0)
        self._failed_rounds = 0
        self._first_round = 0
        self._trained_on: dict[int, int] = {}
        self._asked: dict[int, int] = {}
        self._answers: dict[str, int] = {}
        self._turns: Turns[Reply] = Turns((), self._serve_timed)
        self._saved: Any = None
        self._spec = SmashedSpec(
            task.smashed_example(), task.num_classes, 1 if task.takes_single_samples() else 2
        )
        self._losses: list[StepLoss] = []
        self._evaluation: FederatedEvaluation | None = None
        self._traffic: Mapping[int, NodeTraffic] = {}
        self._sent = ArrayRecord()
        self._updates: dict[int, tuple[int, float]] = {}

    # What an algorithm is made of -------------------------------------------------------

    @abstractmethod
    def _requests(
        self, clients: list[int], arrays: ArrayRecord, config: ConfigRecord, grid: SplitGrid
    ) -> dict[int, RecordDict]:
        """Return what each client is sent in this round; one left out has failed."""

    @abstractmethod
    def _read(self, client: int, content: RecordDict) -> Reply:
        """Check a reply and take out of it what is not for Flower to average.

        Raises
        ------
        BadReplyError
            The reply is left out of the round.
        """

    @abstractmethod
    def _serve(self, client: int, reply: Reply) -> None:
        """Train the server half on a reply."""

    @abstractmethod
    def _finish(self, replies: Mapping[int, Reply]) -> None:
        """Keep what is needed of the replies of a round that counts."""

    def _exchange(
        self,
        grid: SplitGrid,
        requests: Mapping[int, RecordDict],
        message_type: str,
        read: Callable[[int, RecordDict], Any],
    ) -> dict[int, Any]:
        """Ask clients something within a round; return the good answers, by client.

        A client whose answer is missing or bad is left out of the round.
        """
        of_node = {self.roster.nodes[client]: client for client in requests}
        answers: dict[int, Any] = {}

        def receive(request: Message, reply: Message) -> None:
            client = of_node[request.metadata.dst_node_id]
            try:
                answers[client] = read(client, self._content_of(reply))
            except BadReplyError as error:
                discard(reply)
                self._leave_out(client, str(error))

        messages = [self._message(client, c, message_type) for client, c in requests.items()]
        grid.exchange(messages, receive, timeout=self.round_timeout)
        for client in requests:
            if client not in answers and client not in self.last_round.failures:
                self._leave_out(client, f"no reply within {self.round_timeout:g} s")
        return {client: answers[client] for client in sorted(answers)}

    @abstractmethod
    def _save_server(self) -> Any:
        """Return what :meth:`_serve` changes, copied."""

    @abstractmethod
    def _restore_server(self, saved: Any) -> None:
        """Undo :meth:`_serve`."""

    # Flower's hooks ---------------------------------------------------------------------

    def over(self, grid: Grid) -> SplitGrid:
        """Wrap a Grid for this strategy.

        ``start`` does it by itself. When another strategy wraps this one, give its
        ``start`` the wrapped Grid: ``wrapper.start(grid=strategy.over(grid), …)``.
        """
        return grid if isinstance(grid, SplitGrid) else SplitGrid(grid, self.ledger, self._receive)

    @property
    def auxiliary_parameters(self) -> int:
        """Number of parameters of a client's auxiliary head; 0 where there is none."""
        return 0

    def client_rounds(self) -> list[ClientRound]:
        """Return what each client did in the last round, by partition id."""
        summary, rows = self.last_round, []
        for client in sorted({*self._asked.values(), *summary.failures}):
            node = self.roster.nodes.get(client, 0)
            examples, norm = self._updates.get(client, (None, None))
            traffic = self._traffic.get(node, NodeTraffic())
            rows.append(
                ClientRound(
                    summary.round, client, node, examples, norm, round(traffic.seconds, 3),
                    traffic.down_bytes, traffic.up_bytes, summary.failures.get(client, ""),
                )
            )  # fmt: skip
        return rows

    def initial_arrays(self) -> ArrayRecord:
        """Return the client half as it is, the ``initial_arrays`` of ``start``."""
        return ArrayRecord(self.task.model.client.state_dict())

    def evaluate(self, arrays: ArrayRecord, batches: Callable[[], Iterable[Batch]]) -> Evaluation:
        """Evaluate an average on the server; for an ``evaluate_fn`` of ``start``."""
        return evaluate_halves(self.task, arrays, batches)

    def model_state(self, arrays: ArrayRecord) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return the state_dicts of the client half and the server half as they are now."""
        return dict(arrays.to_torch_state_dict()), dict(self.task.model.server.state_dict())

    def start(
        self,
        grid: Grid,
        initial_arrays: ArrayRecord,
        num_rounds: int = 3,
        timeout: float = 3600,
        train_config: ConfigRecord | None = None,
        evaluate_config: ConfigRecord | None = None,
        evaluate_fn: Any = None,
    ) -> Result:
        """Run Flower's round loop; see ``flwr.serverapp.strategy.Strategy.start``.

        ``timeout`` is replaced by ``round_timeout`` when that is shorter.
        """
        return super().start(
            grid=self.over(grid),
            initial_arrays=initial_arrays,
            num_rounds=num_rounds,
            timeout=min(timeout, self.round_timeout),
            train_config=train_config,
            evaluate_config=evaluate_config,
            evaluate_fn=evaluate_fn,
        )

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Sample clients, by the seed, and make each one's request.

        Raises
        ------
        TypeError
            The Grid was not wrapped by :meth:`over`; or clients are to clip messages that
            hold more than weights.
        TrainingFailedError
            A strategy around this one dropped ``max_failed_rounds`` rounds in a row.
        """
        if not isinstance(grid, SplitGrid):
            name = type(self).__name__
            raise TypeError(
                f"{name} needs its own Grid: call start(grid=strategy.over(grid), …), "
                f"where strategy is the {name}"
            )
        if CLIENT_CLIPPING in config and not self.sends_weights_alone:
            raise TypeError(
                f"Flower's clipping on the clients wants messages with weights alone, and "
                f"{type(self).__name__}'s carry more; "
                "use DifferentialPrivacyServerSideFixedClipping around it"
            )
        self._undo_unfinished()
        self._evaluation, self._sent, self._updates = None, arrays, {}
        self.rounds_done = self._first_round + server_round - 1
        self.last_round = RoundSummary(round=self.rounds_done + 1)
        self.roster.refresh(grid, self.min_available_nodes)
        self._traffic = grid.new_round()
        wanted = max(int(len(self.roster.nodes) * self.fraction_train), self.min_train_nodes)
        clients = self.roster.sample(wanted, self.task.seed, self.rounds_done)
        log.info("configure_train: clients %s of %d", clients, len(self.roster.nodes))
        config["server-round"] = server_round
        self._saved, self._losses = self._save_server(), []
        requests = self._requests(clients, arrays, config, grid)
        self._asked = {self.roster.nodes[client]: client for client in requests}
        self._turns, self._answers = Turns(requests, self._serve_timed), {}
        return [self._message(client, content) for client, content in requests.items()]

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Average the client halves of the good replies, integer buffers as integers.

        Returns
        -------
        tuple
            The average and the round's metrics; (None, None) when fewer than
            ``min_train_nodes`` replies are good: then the server half is put back as it
            was before the round.

        Raises
        ------
        TrainingFailedError
            That happened in ``max_failed_rounds`` rounds in a row.
        """
        for client in self._turns.absent:
            if client not in self.last_round.failures:
                self._leave_out(client, f"no reply within {self.round_timeout:g} s")
        self._turns.advance(self.last_round.failures)
        # By what each reply answers: whom it says it is from is the sender's word.
        by_client = {self._answers.get(r.metadata.reply_to_message_id): r for r in replies}
        counted = {c: by_client[c] for c in self._turns.served if c in by_client}
        good = list(counted.values())
        self.last_round.clients = len(good)
        if len(good) < max(1, self.min_train_nodes):
            self._undo_round()
            wanted = max(1, self.min_train_nodes)
            self._give_up(f"{len(good)} good replies, {wanted} needed")
            return None, None
        self._failed_rounds = 0
        sent = {name: array.numpy() for name, array in self._sent.items()}
        self._updates = {client: self._update(sent, reply) for client, reply in counted.items()}
        self._finish(self._turns.served)
        arrays, metrics = super().aggregate_train(server_round, good)
        self._saved, self._turns = None, Turns((), self._serve_timed)
        self.rounds_done += 1
        if arrays is not None:
            arrays = with_dtypes_of(arrays, good[0].content.array_records[self.arrayrecord_key])
        return arrays, metrics

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Sample clients, by the seed, and ask each to evaluate on its validation part."""
        if self.fraction_evaluate == 0:
            return []
        self.roster.refresh(self.over(grid), self.min_available_nodes)
        wanted = max(int(len(self.roster.nodes) * self.fraction_evaluate), self.min_evaluate_nodes)
        clients = self.roster.sample(wanted, self.task.seed, self.rounds_done, "evaluate")
        asked = {self.roster.nodes[client]: client for client in clients}
        self._evaluation = FederatedEvaluation(asked, self._score, self.max_reply_bytes)
        content = WeightsRequest(self.rounds_done, arrays.to_torch_state_dict()).to_records()
        return [self._message(client, content, self.evaluation_type) for client in clients]

    def aggregate_evaluate(
        self, server_round: int, replies: Iterable[Message]
    ) -> MetricRecord | None:
        """Return ``validation-loss`` and ``validation-accuracy``, weighted by examples."""
        evaluation, self._evaluation = self._evaluation, None
        if evaluation is None:
            return None
        found = self.last_round.validation = evaluation.finish()
        self.last_round.failures = {**evaluation.failures, **self.last_round.failures}
        return None if found is None else to_record(found, "validation")

    # One round --------------------------------------------------------------------------

    def _score(self, content: RecordDict) -> Evaluation:
        """Return the results of a reply to an evaluation."""
        spec = replace(self._spec, smallest_batch=1)  # nothing normalises over a batch here
        return evaluate_server_half(self.task, SmashedBatches.take_from(content, spec))

    def _undo_unfinished(self) -> None:
        """Put the server half back when a wrapper gave a round up without asking us."""
        if self._saved is not None:
            self._undo_round()
            self._give_up("the strategy around this one dropped it")

    def _undo_round(self) -> None:
        self._restore_server(self._saved)
        self._saved = None

    def _message(self, client: int, content: RecordDict, message_type: str = "") -> Message:
        return Message(
            content,
            self.roster.nodes[client],
            message_type or self.message_type,
            ttl=self.round_timeout,
        )

    def _content_of(self, reply: Message) -> RecordDict:
        try:
            return content_of(reply, self.max_reply_bytes)
        except DeadActorError:
            self._undo_round()
            raise

    def _receive(self, request: Message, reply: Message) -> None:
        """Take a reply as it arrives, and serve all whose turn has come."""
        if self._evaluation is not None:
            self._evaluation.receive(request, reply)
            return
        client = self._asked.get(request.metadata.dst_node_id)
        if client is None:
            return
        try:
            self._turns.take(client, self._read(client, self._content_of(reply)))
            self._answers[reply.metadata.reply_to_message_id] = client
        except BadReplyError as error:
            discard(reply)
            self._leave_out(client, str(error))
        self._turns.advance(self.last_round.failures)

    def _serve_timed(self, client: int, reply: Reply) -> None:
        began = time.perf_counter()
        self._serve(client, reply)
        self.last_round.server_seconds += time.perf_counter() - began

    def _trained_before(self, client: int) -> bool:
        """Tell whether the client's node of now has trained in this run."""
        return self._trained_on.get(client) == self.roster.nodes[client]

    def _note(self, replies: Mapping[int, TrainReply]) -> None:
        """Put the replies' own figures, and the mean loss, into the round's summary."""
        self.last_round.train_loss = weighted_mean(
            [(step.loss, step.samples) for step in self._losses]
        )
        summary = self.last_round
        summary.client_seconds += sum(reply.seconds for reply in replies.values())
        summary.client_step_seconds += sum(reply.step_seconds for reply in replies.values())
        nodes = {client: self.roster.nodes[client] for client in replies}
        lost = {client for client, reply in replies.items() if reply.optimizer_state_lost}
        if self.keep_optimizer_state:
            # A new node cannot know that its client has trained before on another.
            lost |= {c for c, node in nodes.items() if self._trained_on.get(c, node) != node}
        if lost:
            log.warning("clients %s had lost their optimizer state; it began afresh", sorted(lost))
        self._trained_on.update(nodes)

    def _update(self, sent: Mapping[str, NDArray[Any]], reply: Message) -> tuple[int, float]:
        """Return the examples and the norm of the update of a good reply."""
        (metrics,) = reply.content.metric_records.values()
        norm = update_norm(sent, reply.content.array_records[self.arrayrecord_key])
        return int(cast(int, metrics[self.weighted_by_key])), norm

    def _note_loss(self, client: int, loss: float, samples: int) -> None:
        """Note the loss of a step of the server half.

        Raises
        ------
        DivergedError
            It is not finite; the server half is as it was before the round.
        """
        if not math.isfinite(loss):
            self._undo_round()
            raise DivergedError(
                f"the server half's loss is {loss} in round {self.last_round.round}, on a batch of "
                f"client {client}; this round is undone. Lower server-learning-rate or "
                "learning-rate, or look at that client in clients.csv"
            )
        self._losses.append(StepLoss(client, loss, samples))

    def _leave_out(self, client: int, reason: str) -> None:
        self.last_round.failures[client] = reason
        log.warning("round %d: client %d is left out: %s", self.last_round.round, client, reason)

    def _give_up(self, why: str) -> None:
        self._failed_rounds += 1
        self.rounds_done += 1
        reasons = "; ".join(
            [f"client {client}: {reason}" for client, reason in self.last_round.failures.items()]
            + [f"node {node}: {reason}" for node, reason in self.roster.strangers.items()]
        )
        problem = (
            f"round {self.last_round.round} is given up: {why} "
            f"({reasons or 'no client is connected'})"
        )
        log.warning(problem)
        if self._failed_rounds >= self.max_failed_rounds:
            raise TrainingFailedError(f"{self._failed_rounds} rounds in a row failed; {problem}")

    def _train_metrics(self, records: list[RecordDict], weighted_by_key: str) -> MetricRecord:
        metrics = MetricRecord({"clients": len(records), "failures": len(self.last_round.failures)})
        if self.last_round.train_loss is not None:
            metrics["train-loss"] = self.last_round.train_loss
        return metrics

    # Checkpoints ------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return everything needed to go on after this round, but the client half."""
        return {"rounds_done": self.rounds_done, "ledger": self.ledger.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on after the round of a checkpoint: the next ``start`` continues there."""
        self._first_round = self.rounds_done = int(state["rounds_done"])
        self.ledger.load_state_dict(state["ledger"])

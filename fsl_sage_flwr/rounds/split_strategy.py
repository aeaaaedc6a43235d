"""What every split-learning strategy does alike."""

import logging
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Self, Unpack

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg, Result
from torch import Tensor

from ..compression import Compression
from ..compression.server import DeltaSync
from ..messages import PROXIMAL_MU, CommunicationLedger, PackedWeights
from ..messages.arrays import to_arrays
from ..splitting import Evaluation
from ..state import State
from ..task import Batch, SplitTask
from ..tensor_store import TensorStore
from . import arguments
from .aggregation.aggregation import Aggregation
from .aggregation.client_clipping import refuse_clipping
from .averaged_state import AveragedState
from .checks.batch_limits import BatchLimits
from .checks.expected_tensors import smashed_spec, weights_like
from .checks.untrained import warn_of_frozen_clients
from .client_weights import ClientHalfWeights
from .clients.client_registry import ClientRegistry
from .clients.cooldown import ClientCooldown
from .clients.sampling import sample_to_evaluate, sample_to_train
from .early_stop import ShouldStop, with_should_stop
from .grid.reply_stream import ReplyStream
from .grid.split_grid import SplitGrid
from .metrics.client_round import ClientRound
from .metrics.evaluation import evaluate_halves, to_record
from .metrics.federated_evaluation import FederatedEvaluation
from .metrics.round_summary import RoundSummary
from .metrics.sample_uploads import SampleUploads
from .metrics.split_evaluation import SplitEvaluation
from .old_checkpoints import nested
from .open_round import OpenRound
from .reply_spool import ReplySpool
from .round import Round, RoundBody
from .round_average import RoundAverage
from .round_counter import RoundCounter
from .round_settings import RoundSettings
from .server.server_half import OneServerHalf
from .settings import StrategySettings
from .trained_check import TrainedCheck

log = logging.getLogger("flwr.fsl_sage")


class SplitStrategy(FedAvg):
    """Flower's FedAvg over the client half, with a server half trained beside it.

    Flower's round loop and arguments are kept. An algorithm is one method, :meth:`train_round`,
    which iterates over the replies of a round. What a round changes is held in *states* (the
    server half, the heads), which are restored when a round is undone, and which a checkpoint
    stores.

    The client's half of the contract: answer ``query.describe`` (see
    :mod:`fsl_sage_flwr.client_apps`), and weight its reply by ``weighted_by_key``.

    Parameters
    ----------
    task : SplitTask
        What is trained. The server half in it is trained in place.
    states : Mapping
        The strategy's states by name, which outlive a round.
    **settings
        Arguments of every strategy: :class:`StrategyArguments`.

    Raises
    ------
    ValueError
        ``fraction_evaluate`` is above 0 and the task has no ``validation_batches``; or the task
        has ``client_privacy``, and the algorithm takes no steps that it applies to; or
        ``fed_opt`` or ``proximal_mu`` is given, and clients train nothing; or ``asynchrony`` does
        not fit the algorithm or another argument.
    SplitError
        The task's objective does not take what its server half gives; or its clients cannot take
        DP-SGD's steps.
    """

    trains_client_half = True  # False: the client half keeps its bits, and replies are without it
    trains_head = False  # whether clients have an auxiliary head
    trains = ClientHalfWeights  # weights that clients train, and that are averaged
    evaluates = SplitEvaluation  # how clients evaluate their validation parts
    sends_weights_alone = False  # whether messages hold weights alone, which clients may clip
    private_steps = False  # whether DP-SGD covers the clients' steps
    replies_may_be_late = False  # whether replies to an earlier round's request can be merged
    labels_may_stay = False  # whether clients may hold the model's tail, and keep their labels
    most_at_once: int | None = None  # clients in a round's last phase at a time, in a simulation

    def __new__(cls, *given: object, **named: object) -> Self:
        """Check the task, which an algorithm reads before this class does."""
        arguments.check_task(cls, given, named)
        return super().__new__(cls)

    def __init__(
        self,
        task: SplitTask,
        states: Mapping[str, State],
        **settings: Unpack[StrategySettings],
    ) -> None:
        given = arguments.read(type(self), settings)
        super().__init__(
            fraction_train=given.fraction_train,
            fraction_evaluate=1.0,  # for 0 Flower warns, of what is the default here
            min_train_nodes=given.min_train_nodes,
            min_evaluate_nodes=given.min_evaluate_nodes if given.fraction_evaluate else 0,
            min_available_nodes=given.min_available_nodes,
            weighted_by_key=given.weighted_by_key,
            train_metrics_aggr_fn=given.train_metrics_aggr_fn or self._train_metrics,
        )
        self.fraction_evaluate = given.fraction_evaluate
        arguments.check_evaluation(task, given.fraction_evaluate)
        name = type(self).__name__
        arguments.check_privacy(task, name, private_steps=self.private_steps)
        if not type(self).trains_client_half:
            arguments.refuse_training(name, given)
        arguments.check_tail(task, name, labels_may_stay=self.labels_may_stay)
        task.check_objective()
        self.task = task
        if task.client_privacy is not None:
            task.check_private_steps(with_head=self.auxiliary_parameters > 0)
        self.trained = self.trains(task)
        if type(self).trains_client_half:
            warn_of_frozen_clients(self.trained.parameters(), name)
        self.downlink = DeltaSync(given.compression or Compression())
        self.pauses = ClientCooldown(given.max_client_failures, given.pause_rounds)
        self.aggregation = given.aggregation or Aggregation()
        self.asynchrony = arguments.asynchrony_for(
            name,
            given,
            self.aggregation,
            replies_may_be_late=self.replies_may_be_late,
            completes_batches=any(
                isinstance(state, OneServerHalf) and state.completes_batches
                for state in states.values()
            ),
        )
        self.max_update_ratio, self.proximal_mu = given.max_update_ratio, given.proximal_mu
        self._average = RoundAverage(
            self.trained, states, self.aggregation, self.asynchrony, given.fed_opt
        )
        self.states: dict[str, State] = {
            **states,
            "downlink": self.downlink,
            **self._average.server_steps,
        }
        self.keep_files_in(TensorStore())
        self.keep_optimizer_state = given.keep_optimizer_state
        self.round_timeout, self.absence_timeout = given.round_timeout, given.absence_timeout
        self.fraction_reply, self.max_reply_bytes = given.fraction_reply, given.max_reply_bytes
        self._rounds = RoundCounter(given.max_failed_rounds)
        self.ledger = CommunicationLedger()
        self.sample_uploads = SampleUploads()
        self.registry = ClientRegistry(task.classes, given.absence_timeout)
        self._trained_check = TrainedCheck(task, self.trained)
        self._round: OpenRound | None = None
        self._client_half_like = weights_like(self.trained.current())
        self.smashed = smashed_spec(task, with_head=self.auxiliary_parameters > 0)

    # What an algorithm is made of -------------------------------------------------------

    @abstractmethod
    def train_round(self, round_: Round) -> RoundBody:
        """Train for one round: iterate over replies, and step the server half on them.

        Within the round clients are sent messages by ``round_.ask``. The round ends with
        ``yield from round_.finish(…)``, whose messages and replies pass through Flower's loop
        and strategies around this one, and whose clients count for the average::

            for client, reply in (yield from round_.finish(instructions)):
                with round_.transaction(client, self.server):
                    self.server.step_on_upload(round_, client, reply)

        Averages, of the client half and of each ``AveragedState``, follow by themselves.
        """

    def averaged_states(self) -> dict[str, AveragedState]:
        """Return the states that a round averages; a choice of clients is over them too."""
        return {
            name: state for name, state in self.states.items() if isinstance(state, AveragedState)
        }

    @property
    def auxiliary_parameters(self) -> int:
        """Number of parameters of a client's auxiliary head; 0 where there is none."""
        return self.task.head_parameters() if self.trains_head else 0

    # Views of the run and of its last round ---------------------------------------------

    @property
    def rounds_done(self) -> int:
        """Number of rounds that have ended, failed ones too."""
        return self._rounds.done

    @property
    def rounds_trained(self) -> int:
        """Number of rounds that count."""
        return self._rounds.trained

    @property
    def last_round(self) -> RoundSummary:
        """Figures of the latest round."""
        return RoundSummary(round=0) if self._round is None else self._round.summary

    def client_rounds(self) -> list[ClientRound]:
        """Return each client's figures of the latest round, by partition id."""
        return [] if self._round is None else self._round.client_rows()

    def take_late_replies(self) -> int:
        """Count the bytes of late replies; return how many have not arrived.

        A ``Recorder`` calls it before it writes a round's row, so that each late reply counts in
        the round at whose end it has arrived.
        """
        return 0 if self._round is None else self._round.take_late_replies()

    # Flower's hooks ---------------------------------------------------------------------

    def wrap_grid(self, grid: Grid) -> SplitGrid:
        """Wrap a Grid for this strategy.

        ``start`` does this itself. When another strategy wraps this one, give its ``start`` the
        wrapped Grid: ``wrapper.start(grid=strategy.wrap_grid(grid), …)``.
        """
        if isinstance(grid, SplitGrid):
            return grid
        return SplitGrid(grid, self.ledger, self._receive)

    def initial_arrays(self) -> ArrayRecord:
        """Return the current weights, for the ``initial_arrays`` of ``start``."""
        return to_arrays(self.trained.current())

    def evaluate(self, arrays: ArrayRecord, batches: Callable[[], Iterable[Batch]]) -> Evaluation:
        """Evaluate an average on the server; for an ``evaluate_fn`` of ``start``."""
        return evaluate_halves(self.task, self.trained.client_half(arrays), batches)

    def model_state(self, arrays: ArrayRecord) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return the current state_dicts of the client half and the server half."""
        client_half, model = self.trained.client_half(arrays), self.task.model
        self.task.load_weights(model.client, client_half.to_torch_state_dict())
        return dict(model.client.state_dict()), dict(model.server.state_dict())

    def start(
        self,
        grid: Grid,
        initial_arrays: ArrayRecord,
        num_rounds: int = 3,
        timeout: float | None = None,
        train_config: ConfigRecord | None = None,
        evaluate_config: ConfigRecord | None = None,
        evaluate_fn: Callable[[int, ArrayRecord], MetricRecord | None] | None = None,
        should_stop: ShouldStop | None = None,
    ) -> Result:
        """Run Flower's round loop; see ``flwr.serverapp.strategy.Strategy.start``.

        ``timeout`` is at most ``round_timeout``, its default. Flower before 1.43 has no
        ``should_stop``: it is refused there.

        Raises
        ------
        TrainingFailedError
            Too many rounds in a row failed, or all of them.
        ValueError
            ``asynchrony`` is given for a simulation without a virtual clock.
        """
        grid = self.wrap_grid(grid)
        if self.asynchrony is not None and grid.answers_in_turn:
            raise ValueError(
                f"async.buffer = {self.asynchrony.options.buffer}: in a simulation without a "
                "virtual clock the first clients would answer every round, and the last none; "
                "give clock.replies = true and the engine inline"
            )
        result = with_should_stop(super().start, should_stop)(
            grid=grid,
            initial_arrays=initial_arrays,
            num_rounds=num_rounds,
            timeout=self.round_timeout if timeout is None else min(timeout, self.round_timeout),
            train_config=train_config,
            evaluate_config=evaluate_config,
            evaluate_fn=evaluate_fn,
        )
        if num_rounds > 0:
            self.refuse_untrained()
        return result

    def refuse_untrained(self) -> None:
        """Raise an error if no round was trained.

        Raises
        ------
        TrainingFailedError
            Every round so far failed: the weights are the initial ones.
        """
        self._rounds.refuse_untrained()

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Open a round: sample clients, by the seed, and return each one's message.

        Raises
        ------
        TypeError
            The Grid was not wrapped by :meth:`wrap_grid`; or clients are to clip messages that
            hold more than weights.
        TrainingFailedError
            A strategy around this one dropped ``max_failed_rounds`` rounds in a row.
        """
        name = type(self).__name__
        if not isinstance(grid, SplitGrid):
            raise TypeError(
                f"{name} needs its own Grid: call start(grid=strategy.wrap_grid(grid), …), "
                f"where strategy is the {name}"
            )
        codec = self.downlink.compression.client_half_up
        refuse_clipping(config, name, codec, weights_alone=self.sends_weights_alone)
        self._undo_unfinished()
        self._rounds.begin(server_round)
        busy = {} if self.asynchrony is None else self.asynchrony.busy
        clients, known = sample_to_train(
            self.registry,
            self.pauses,
            grid,
            busy,
            seed=self.task.seed,
            round_=self.rounds_done,
            fraction=self.fraction_train,
            fewest=self.min_train_nodes,
            available=self.min_available_nodes,
            absence_timeout=self.absence_timeout,
        )
        round_ = self._round = OpenRound(
            self.rounds_done,
            clients,
            arrays,
            ConfigRecord({**config, "server-round": server_round, **self._proximal_term()}),
            grid,
            self.registry,
            self._round_settings(),
            self.states,
            self.downlink,
            self.sample_uploads,
            ReplySpool(self.files),
            self._trained_check.problem_with_reply,
            self.asynchrony,
            self.rounds_trained,
        )
        log.info("configure_train: clients %s of %d", clients, known)
        for client, reason in self.registry.unfit.items():
            round_.round.exclude(client, reason)
        with round_.undone_on_error():
            return round_.begin(self.train_round(round_.round))

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """End the round: average the valid replies, integer buffers as integers.

        Returns
        -------
        tuple
            The average and the round's metrics; (None, None) when fewer than
            ``min_train_nodes`` replies are valid: then the round is undone.

        Raises
        ------
        TrainingFailedError
            That happened in ``max_failed_rounds`` rounds in a row.
        """
        round_ = self._round
        if round_ is None or not round_.is_open:
            raise RuntimeError("aggregate_train was called without a round; call configure_train")
        with round_.undone_on_error():
            round_.refuse_divergence()
        counted = round_.counted(replies)
        failed = {c: why for c, why in round_.blamed.items() if c not in self.registry.unfit}
        self.pauses.record(round_.number, round_.served, failed)
        key = self.arrayrecord_key if self.trains_client_half else None
        averaged_states = self.averaged_states()
        averages = self.trains_client_half or averaged_states
        wanted = max(self.min_train_nodes, self.aggregation.fewest if averages else 1)
        present = len(counted) + len(round_.without_message)
        if present < wanted:
            round_.summary.clients = present
            self._give_up(
                round_, f"{present} valid replies, {wanted} needed", nobody_answered=not present
            )
            return None, None
        round_.record(counted, key)
        good = [message.content for message in counted.values()]
        with round_.undone_on_error():
            arrays = self._average.of_client_halves(round_, counted, key, averaged_states)
        weights = arrays.to_torch_state_dict()
        problem = self._trained_check.problem_with_average(weights)
        if problem is not None:  # although all that is averaged is sound
            self._give_up(round_, f"the averaged weights of {len(counted)} clients {problem}")
            return None, None
        if self.trains_client_half:
            self._trained_check.record(round_.round.client_half, weights)
        with round_.undone_on_error():
            for averaged_state in averaged_states.values():
                averaged_state.average(round_.weights, round_.served)
        nodes = {client: round_.node_of(client) for client in round_.served}
        for state in self.states.values():
            state.confirm(nodes)
        self.downlink.note_counted({client: round_.round.round_of(client) for client in counted})
        round_.figures.record_replies(round_.served, keeps_optimizers=self.keep_optimizer_state)
        aggregate = self.train_metrics_aggr_fn if good else self._train_metrics
        metrics = aggregate(good, self.weighted_by_key)
        round_.close()
        self._rounds.record_success()
        return arrays, metrics

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Sample clients by the seed; return each one's message to evaluate its validation part."""
        round_ = self._round
        if self.fraction_evaluate == 0 or round_ is None:
            return []
        grid = self.wrap_grid(grid)
        clients = sample_to_evaluate(
            self.registry,
            grid,
            seed=self.task.seed,
            round_=self.rounds_done,
            fraction=self.fraction_evaluate,
            fewest=self.min_evaluate_nodes,
            available=self.min_available_nodes,
        )
        how = self.evaluates(
            self.task,
            self.smashed,
            self.downlink,
            self.rounds_done,
            self.round_timeout,
            self.max_reply_bytes,
        )
        nodes = {client: self.registry.nodes[client] for client in clients}
        evaluation = round_.evaluation = FederatedEvaluation(how, grid, nodes)
        if how.sends_smashed_data:
            for client in clients:
                self.sample_uploads.record_validation(client)
        return evaluation.messages(PackedWeights(arrays.to_torch_state_dict()))

    def aggregate_evaluate(
        self, server_round: int, replies: Iterable[Message]
    ) -> MetricRecord | None:
        """Return ``validation-loss`` and the scores, weighted by examples."""
        round_ = self._round
        if round_ is None or round_.evaluation is None:
            return None
        evaluation, round_.evaluation = round_.evaluation, None
        summary = round_.summary
        found = summary.validation = evaluation.finish()
        self.downlink.forget(evaluation.failures)
        summary.failures = {**evaluation.failures, **summary.failures}
        return None if found is None else to_record(found, "validation")

    # One round --------------------------------------------------------------------------

    def _proximal_term(self) -> dict[str, float]:
        """Return the entry that Flower's FedProx adds to the configuration of requests."""
        return {PROXIMAL_MU: float(self.proximal_mu)} if self.proximal_mu else {}

    def _round_settings(self) -> RoundSettings:
        return RoundSettings(
            timeout=self.round_timeout,
            max_reply_bytes=self.max_reply_bytes,
            keep_optimizer_state=self.keep_optimizer_state,
            weighted_by=self.weighted_by_key,
            smashed=self.smashed,
            client_half_like=self._client_half_like,
            fraction_reply=self.fraction_reply,
            max_update_ratio=self.max_update_ratio,
            batches=BatchLimits(self.task),
            most_at_once=self.most_at_once,
        )

    def _receive(
        self, grid: SplitGrid, messages: Iterable[Message], timeout: float | None
    ) -> list[Message]:
        """Send the messages of a round, or of an evaluation; return the replies for Flower."""
        round_ = self._round
        if round_ is not None and round_.evaluation is not None:
            return round_.evaluation.receive(ReplyStream(grid, messages, timeout=timeout))
        if round_ is None or not round_.is_open:  # a message that is not ours
            return [reply for _, reply in ReplyStream(grid, messages, timeout=timeout)]
        with round_.undone_on_error():
            return round_.receive(messages, timeout)

    def _undo_unfinished(self) -> None:
        """Undo the round when a strategy around this one gave it up without asking."""
        round_ = self._round
        if round_ is not None and round_.is_open:
            self._give_up(round_, "the strategy around this one dropped it")

    def _give_up(self, round_: OpenRound, why: str, *, nobody_answered: bool = False) -> None:
        round_.undo()
        round_.summary.given_up = True
        self._rounds.record_failure(
            round_.number + 1,
            why,
            round_.failures,
            self.registry.unidentified,
            nobody_answered=nobody_answered,
        )

    def _train_metrics(self, records: list[RecordDict], weighted_by_key: str) -> MetricRecord:
        summary = self.last_round
        metrics = MetricRecord({"clients": summary.clients, "failures": len(summary.failures)})
        if summary.train_loss is not None:
            metrics["train-loss"] = summary.train_loss
        return metrics

    # Checkpoints ------------------------------------------------------------------------

    def keep_files_in(self, folder: TensorStore) -> None:
        """Keep tensors that need not be in memory in a folder; by default a temporary one."""
        self.files = folder
        for state in self.states.values():
            state.files = folder

    def state_dict(self) -> dict[str, Any]:
        """Return everything needed to resume after this round, but the client half.

        States are nested by their names. Tensors in files are in it as a :class:`TensorFile`: a
        Mapping that is read when used.
        """
        return {
            **self._rounds.state_dict(),
            "ledger": self.ledger.state_dict(),
            "sample_uploads": self.sample_uploads.state_dict(),
            "pauses": self.pauses.state_dict(),
            **{name: state.state_dict() for name, state in self.states.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume after the round of a checkpoint: the next ``start`` continues there."""
        state = nested(state, self.states)
        self._rounds.load_state_dict(state)
        self.ledger.load_state_dict(state["ledger"])
        self.sample_uploads.load_state_dict(state["sample_uploads"])
        self.pauses.load_state_dict(state["pauses"])
        for name, each in self.states.items():
            each.load_state_dict(state[name])
            each.forget(self.registry.nodes)

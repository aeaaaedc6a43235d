"""What every split-learning strategy does alike."""

import logging
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Self

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg, Result
from torch import Tensor, nn

from ..compression import Compression
from ..compression.server import DeltaSync
from ..config import check_arguments
from ..config.strategy import StrategyOptions, mebibytes
from ..messages import (
    PROXIMAL_MU,
    CommunicationLedger,
    PackedWeights,
    SmashedSpec,
    TrainReply,
)
from ..messages.arrays import to_arrays
from ..messages.records import is_finite
from ..splitting import Evaluation, trainable_parameters
from ..state import State
from ..task import Batch, SplitTask
from ..tensor_store import TensorStore
from .aggregation.aggregation import Aggregation
from .aggregation.client_clipping import refuse_clipping
from .aggregation.fed_opt import FedOpt, ServerStep
from .asynchrony.asynchrony import Asynchrony
from .asynchrony.options import AsyncOptions
from .averaged_state import AveragedState
from .checks.arguments import check_constructor
from .checks.batch_limits import BatchLimits
from .checks.finite_check import FiniteCheck
from .checks.untrained import UntrainedClientWeights
from .clients.absence import wait_for_nodes
from .clients.client_registry import ClientRegistry
from .clients.cooldown import ClientCooldown
from .early_stop import ShouldStop, with_should_stop
from .failed_rounds import FailedRoundCounter, TrainingFailedError
from .grid.reply_stream import ReplyStream
from .grid.split_grid import SplitGrid
from .metrics.client_round import ClientRound
from .metrics.evaluation import evaluate_halves, to_record
from .metrics.federated_evaluation import FederatedEvaluation
from .metrics.round_summary import RoundSummary
from .metrics.sample_uploads import SampleUploads
from .metrics.split_evaluation import SplitEvaluation
from .old_checkpoints import nested
from .reply_spool import ReplySpool
from .round import Round, RoundBody
from .settings import RoundSettings, StrategySettings

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
    keep_optimizer_state : bool
        Clients keep their optimizers' state from round to round.
    round_timeout : float
        Seconds after which a client that has not answered is excluded from the round.
    absence_timeout : float
        Seconds to wait, before a round, for ``min_train_nodes`` nodes to be connected, beyond the
        registry's ``registration_timeout``. At the start registered nodes that do not answer,
        because another run uses them, are waited for as long.
    fraction_reply : float
        Fraction of valid replies that closes a round; late replies are discarded, and their
        senders get no message before they have answered. Below 1 the clients' speed decides
        which of them count, so two runs differ.
    max_client_failures : int
        Rounds in a row in which a client fails, other than by being late, that pause it for
        ``pause_rounds`` rounds; 0 disables pauses.
    pause_rounds : int
        Length of a pause. Paused clients take part when ``min_train_nodes`` others are missing.
    max_failed_rounds : int
        Rounds in a row with fewer than ``min_train_nodes`` valid replies that end the run.
    max_reply_bytes : int
        Largest size of a reply in bytes; a larger one is discarded unread.
    fraction_train, fraction_evaluate : float
        Share of the clients that train, and that evaluate, in a round. Flower's arguments, but
        federated evaluation is off by default; it needs a task with ``validation_batches``.
    min_train_nodes, min_evaluate_nodes, min_available_nodes : int
        Flower's arguments, 1 here unless given.
    weighted_by_key : str
        Metric of a reply, a positive number, by which everything that clients train is averaged.
    train_metrics_aggr_fn : callable, optional
        Flower's argument; by default the round's clients, failures and training loss.
    compression : Compression, optional
        The codecs of messages; by default nothing is coded.
    aggregation : Aggregation, optional
        How the clients' results become one; by default the weighted mean. A round with fewer
        valid replies than its rule needs failed.
    fed_opt : callable, optional
        Makes Flower's ``FedAdam``, ``FedYogi``, ``FedAdagrad`` or ``FedAvgM``, once for each part
        that is averaged: it steps from the round's weights towards the average. By default the
        average is taken. Buffers keep the average.
    proximal_mu : float
        Weight of FedProx's term, which keeps what clients train near the round's weights: each
        client's optimizer minimises ``proximal_mu / 2`` times the squared distance too.
    max_update_ratio : float
        Largest norm of a client's update, or of its smashed data, as a multiple of the round's
        median; a client above it is excluded. Replies are then held until all have arrived, but
        not those of clients that exchange batches at their own pace. 0 disables the comparison.
    asynchrony : AsyncOptions, optional
        A round ends after ``buffer`` valid replies; the other clients continue to compute, get no
        message, and are merged in the round in which they reply, weighted by their staleness.
        ``fraction_train`` is then the share of clients that compute at a time. None, and a
        buffer of 0, wait for all.

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
    evaluates = SplitEvaluation  # how clients evaluate their validation parts
    sends_weights_alone = False
    private_steps = False
    replies_may_be_late = False  # whether replies to an earlier round's request can be merged
    labels_may_stay = False  # whether clients may hold the model's tail, and keep their labels
    most_at_once: int | None = None  # clients in a round's last phase at a time, in a simulation

    def __new__(cls, *given: object, **named: object) -> Self:
        """Check the arguments: an algorithm reads the task before this class does."""
        classes = [base for base in cls.__mro__ if issubclass(base, SplitStrategy)]
        check_constructor(given, named, classes, StrategySettings)
        return super().__new__(cls)

    def __init__(
        self,
        task: SplitTask,
        states: Mapping[str, State],
        *,
        keep_optimizer_state: bool = StrategyOptions.keep_optimizer_state,
        round_timeout: float = StrategyOptions.round_timeout,
        absence_timeout: float = StrategyOptions.absence_timeout,
        fraction_reply: float = StrategyOptions.fraction_reply,
        max_client_failures: int = StrategyOptions.max_client_failures,
        pause_rounds: int = StrategyOptions.pause_rounds,
        max_failed_rounds: int = 3,
        max_reply_bytes: int = mebibytes(StrategyOptions.max_reply_mib),
        fraction_train: float = StrategyOptions.fraction_train,
        fraction_evaluate: float = StrategyOptions.fraction_evaluate,
        min_train_nodes: int = StrategyOptions.min_train_nodes,
        min_evaluate_nodes: int = 1,
        min_available_nodes: int = 1,
        weighted_by_key: str = "num-examples",
        train_metrics_aggr_fn: Callable[[list[RecordDict], str], MetricRecord] | None = None,
        compression: Compression | None = None,
        aggregation: Aggregation | None = None,
        fed_opt: FedOpt | None = None,
        proximal_mu: float = StrategyOptions.proximal_mu,
        max_update_ratio: float = StrategyOptions.max_update_ratio,
        asynchrony: AsyncOptions | None = None,
    ) -> None:
        super().__init__(
            fraction_train=fraction_train,
            fraction_evaluate=1.0,  # for 0 Flower warns, of what is the default here
            min_train_nodes=min_train_nodes,
            min_evaluate_nodes=min_evaluate_nodes if fraction_evaluate else 0,
            min_available_nodes=min_available_nodes,
            weighted_by_key=weighted_by_key,
            train_metrics_aggr_fn=train_metrics_aggr_fn or self._train_metrics,
        )
        self.fraction_evaluate = fraction_evaluate
        if self.fraction_evaluate > 0 and task.validation_batches is None:
            raise ValueError(
                f"fraction_evaluate = {self.fraction_evaluate:g} needs a task whose clients have "
                "a validation part: give SplitTask validation_batches, or set it to 0"
            )
        check_arguments(
            StrategyOptions,
            fraction_train=fraction_train,
            fraction_evaluate=fraction_evaluate,
            fraction_reply=fraction_reply,
            min_train_nodes=min_train_nodes,
            max_client_failures=max_client_failures,
            pause_rounds=pause_rounds,
            max_update_ratio=max_update_ratio,
            proximal_mu=proximal_mu,
            round_timeout=round_timeout,
            absence_timeout=absence_timeout,
        )
        if task.client_privacy is not None and not self.private_steps:
            raise ValueError(
                f"client_privacy: clients of {type(self).__name__} take no steps with one gradient "
                "per sample, or send more than such steps make; leave it out"
            )
        if not type(self).trains_client_half and (fed_opt is not None or proximal_mu):
            raise ValueError(
                f"fed_opt, proximal_mu: clients of {type(self).__name__} train nothing; leave both "
                "out"
            )
        if task.model.tail is not None:
            self._check_tail(task)
        task.check_objective()
        self.task = task
        if task.client_privacy is not None:
            task.check_private_steps(with_head=self.auxiliary_parameters > 0)
        self.downlink = DeltaSync(compression or Compression())
        self.pauses = ClientCooldown(max_client_failures, pause_rounds)
        self.states: dict[str, State] = {**states, "downlink": self.downlink}
        self.aggregation = aggregation or Aggregation()
        self.asynchrony = self._asynchrony_of(asynchrony, fraction_reply)
        self.max_update_ratio = max_update_ratio
        self.proximal_mu = proximal_mu
        for state in self.states.values():
            if isinstance(state, AveragedState):
                state.aggregation, state.asynchrony = self.aggregation, self.asynchrony
        self._client_half_step = self._add_server_steps(fed_opt)
        self.keep_files_in(TensorStore())
        self.keep_optimizer_state = keep_optimizer_state
        self.round_timeout, self.absence_timeout = round_timeout, absence_timeout
        self.fraction_reply = fraction_reply
        self.failed_rounds = FailedRoundCounter(max_failed_rounds)
        self.max_reply_bytes = max_reply_bytes
        self.ledger = CommunicationLedger()
        self.sample_uploads = SampleUploads()
        self.registry = ClientRegistry(task.classes, absence_timeout)
        self._sound, self._untrained = FiniteCheck(task), UntrainedClientWeights()
        self.rounds_done = self.rounds_trained = 0
        self._first_round = 0
        self._round: Round | None = None
        # Only names, shapes and dtypes are compared: tensors on "meta" have no values. Constants
        # that are not finite, such as a causal mask, keep theirs: a reply must have the same.
        weights = self.averaged_weights().items()
        self._client_half_like = {
            name: tensor.to("meta") if is_finite(tensor) else tensor.cpu().clone()
            for name, tensor in weights
        }
        self.smashed = SmashedSpec(
            task.smashed_example(),
            task.objective.problem_with,
            1 if task.takes_single_samples(with_head=self.auxiliary_parameters > 0) else 2,
            free=task.model.free,
        )

    def _asynchrony_of(
        self, options: AsyncOptions | None, fraction_reply: float
    ) -> Asynchrony | None:
        """Return what merges late replies; None if a round waits for all replies.

        Raises
        ------
        ValueError
            The algorithm cannot merge them, or another argument does not fit.
        """
        if options is None or not options.buffer:
            return None
        problem = options.problem_with(
            fraction_reply=fraction_reply,
            min_train_nodes=self.min_train_nodes,
            fewest=self.aggregation.fewest,
        )
        if not self.replies_may_be_late:
            problem = f"{type(self).__name__} needs its clients in step; leave it out"
        if problem is not None:
            raise ValueError(f"async.buffer = {options.buffer}: {problem}")
        return Asynchrony(options)

    def _check_tail(self, task: SplitTask) -> None:
        """Refuse a model with a tail where the server needs labels, or DP-SGD.

        Raises
        ------
        ValueError
            Either is so.
        """
        if not self.labels_may_stay:
            raise ValueError(
                f"the model has a tail at {task.model.tail_cut!r}, and {type(self).__name__} needs "
                "the labels beside the smashed data: cut the model without tail=…, or use an "
                "algorithm whose clients exchange each batch for its gradient"
            )
        if task.client_privacy is not None:
            raise ValueError(
                "client_privacy: clients with a tail send gradients of hidden states, which DP-SGD "
                "does not cover; leave it out, or cut the model without tail=…"
            )

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

    def averaged_weights(self) -> Mapping[str, Tensor]:
        """Return the current weights that clients train and Flower averages."""
        return self.task.weights_of(self.task.model.client)

    def trained_parameters(self) -> Mapping[str, Tensor]:
        """Return the parameters that clients train, by their names in the averaged weights."""
        return trainable_parameters(self.task.model.client)

    def trained_parts(
        self, weights: Mapping[str, Tensor]
    ) -> Sequence[tuple[nn.Module, Mapping[str, Tensor]]]:
        """Return the halves that clients train, each with its part of a reply's weights."""
        return [(self.task.model.client, weights)]

    @property
    def auxiliary_parameters(self) -> int:
        """Number of parameters of a client's auxiliary head; 0 where there is none."""
        return 0

    # Views of the last round ------------------------------------------------------------

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
        return to_arrays(self.averaged_weights())

    def evaluate(self, arrays: ArrayRecord, batches: Callable[[], Iterable[Batch]]) -> Evaluation:
        """Evaluate an average on the server; for an ``evaluate_fn`` of ``start``."""
        return evaluate_halves(self.task, arrays, batches)

    def model_state(self, arrays: ArrayRecord) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return the current state_dicts of the client half and the server half."""
        self.task.load_weights(self.task.model.client, arrays.to_torch_state_dict())
        return (
            dict(self.task.model.client.state_dict()),
            dict(self.task.model.server.state_dict()),
        )

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
        if self.rounds_trained == 0:
            why = self.failed_rounds.last_problem or "there was none"
            raise TrainingFailedError(f"no round was trained: {why}")

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
        self.rounds_done = self._first_round + server_round - 1
        busy = {} if self.asynchrony is None else self.asynchrony.busy
        needed = max(self.min_train_nodes - len(busy), 0)
        wait_for_nodes(
            self.registry,
            grid,
            needed,
            self.min_available_nodes,
            self.absence_timeout,
        )
        self.pauses.try_again(self.registry.returned)
        self.registry.returned.clear()
        known = len({*self.registry.nodes, *busy})
        wanted = max(int(known * self.fraction_train), self.min_train_nodes) - len(busy)
        paused = self.pauses.at(self.rounds_done)
        if len(set(self.registry.nodes) - paused) < needed:
            paused = set()
        round_ = self._round = Round(
            self.rounds_done,
            self.registry.sample(
                max(wanted, 0), self.task.seed, self.rounds_done, without=paused | busy.keys()
            ),
            arrays,
            ConfigRecord({**config, "server-round": server_round, **self._proximal_term()}),
            grid,
            self.registry,
            self._round_settings(),
            self.states,
            self.downlink,
            self.sample_uploads,
            ReplySpool(self.files),
            self._problem_with_trained,
            self.asynchrony,
            self.rounds_trained,
        )
        log.info("configure_train: clients %s of %d", round_.clients, known)
        for client, reason in self.registry.unfit.items():
            round_.exclude(client, reason)
        with round_.undone_on_error():
            return round_.begin(self.train_round(round_))

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
        averages = self.trains_client_half or self.averaged_states()
        wanted = max(self.min_train_nodes, self.aggregation.fewest if averages else 1)
        present = len(counted) + len(round_.without_message)
        if present < wanted:
            round_.summary.clients = present
            self._give_up(
                round_, f"{present} valid replies, {wanted} needed", nobody_answered=not present
            )
            return None, None
        round_.record(counted, self.arrayrecord_key if self.trains_client_half else None)
        good = [message.content for message in counted.values()]
        with round_.undone_on_error():
            arrays = self._averaged(round_, counted)
        trained = self.trained_parts(arrays.to_torch_state_dict())
        problem = self._sound.problem_with_trained(trained)
        if problem is not None:  # although all that is averaged is sound
            self._give_up(round_, f"the averaged weights of {len(counted)} clients {problem}")
            return None, None
        if self.trains_client_half:
            self._untrained.record(self.trained_parts(round_.client_half), trained)
        self.failed_rounds.record_success()
        with round_.undone_on_error():
            for averaged_state in self.averaged_states().values():
                averaged_state.average(round_.weights, round_.served)
        nodes = {client: round_.node_of(client) for client in round_.served}
        for state in self.states.values():
            state.confirm(nodes)
        self.downlink.note_counted({client: round_.round_of(client) for client in counted})
        round_.figures.record_replies(round_.served, keeps_optimizers=self.keep_optimizer_state)
        aggregate = self.train_metrics_aggr_fn if good else self._train_metrics
        metrics = aggregate(good, self.weighted_by_key)
        round_.close()
        self.rounds_done += 1
        self.rounds_trained += 1
        return arrays, metrics

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Sample clients by the seed; return each one's message to evaluate its validation part."""
        round_ = self._round
        if self.fraction_evaluate == 0 or round_ is None:
            return []
        wrapped = self.wrap_grid(grid)
        self.registry.refresh(wrapped, self.min_available_nodes)
        nodes = self.registry.nodes
        wanted = max(int(len(nodes) * self.fraction_evaluate), self.min_evaluate_nodes)
        clients = self.registry.sample(wanted, self.task.seed, self.rounds_done, "evaluate")
        asked = {nodes[client]: client for client in clients}
        how = self.evaluates(
            self.task,
            self.smashed,
            self.downlink,
            self.rounds_done,
            self.round_timeout,
            self.max_reply_bytes,
        )
        round_.evaluation = FederatedEvaluation(
            asked, how.score, lambda: wrapped.sent_to, partial(how.following, wrapped, asked)
        )
        if how.sends_smashed_data:
            for client in clients:
                self.sample_uploads.record_validation(client)
        weights = PackedWeights(arrays.to_torch_state_dict())
        return [how.request(wrapped, weights, client, node) for node, client in asked.items()]

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

    def _add_server_steps(self, fed_opt: FedOpt | None) -> ServerStep | None:
        """Add a server optimizer for each averaged part; return that of the client half."""
        if fed_opt is None:
            return None
        for name, state in list(self.states.items()):
            if isinstance(state, AveragedState):
                step = state.server_step = ServerStep(fed_opt, state.parameters)
                self.states[f"{name}_step"] = step
        step = ServerStep(fed_opt, self.trained_parameters().keys())
        self.states["client_half_step"] = step
        return step

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

    def _problem_with_trained(self, reply: TrainReply) -> str | None:
        """Return the problem with weights that a client has trained, or None."""
        parts = [] if reply.client_half is None else list(self.trained_parts(reply.client_half))
        if reply.auxiliary is not None:
            parts.append((self.task.head, reply.auxiliary))
        return self._sound.problem_with_trained(parts)

    def _averaged(self, round_: Round, counted: Mapping[int, Message]) -> ArrayRecord:
        """Return the average of the client halves; the sent ones where clients train none."""
        records = dict[int, ArrayRecord]()
        if self.trains_client_half:
            key = self.arrayrecord_key
            records = self._merged(
                {c: message.content.array_records[key] for c, message in counted.items()}, round_
            )
        self._choose(round_, list(counted), records)
        if not self.trains_client_half:
            return round_.arrays
        weights = {c: weight for c, weight in round_.weights.items() if c in counted}
        averaged = [record for c, record in records.items() if c in weights]
        average = self.aggregation.of_records(averaged, list(weights.values()))
        step = self._client_half_step
        if step is None:
            return average
        before, after = (a.to_torch_state_dict() for a in (round_.arrays, average))
        return to_arrays(step.step(before, after))

    def _merged(self, records: Mapping[int, ArrayRecord], round_: Round) -> dict[int, ArrayRecord]:
        """Return the records with those that stale replies count as in place of them."""
        if self.asynchrony is None:
            return dict(records)
        names, now = self.trained_parameters().keys(), round_.arrays.to_torch_state_dict()
        found = {}
        for client, record in records.items():
            trained = record.to_torch_state_dict()
            merged = self.asynchrony.merged(client, "client_half", trained, now, names)
            found[client] = record if merged is trained else to_arrays(merged)
        return found

    def _choose(
        self, round_: Round, clients: Sequence[int], records: Mapping[int, ArrayRecord]
    ) -> None:
        """Choose the clients to average, once for all of their results."""
        states = self.averaged_states().values()
        if not self.aggregation.chooses or not (records or states):
            return
        trained = {
            client: [
                *([records[client].to_torch_state_dict()] if client in records else []),
                *(state.trained_by(client) for state in states),
            ]
            for client in clients
        }
        chosen = self.aggregation.choose(trained)
        round_.average_only(chosen)
        log.info(
            "round %d: %s averages clients %s", round_.number + 1, self.aggregation.rule, chosen
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

    def _give_up(self, round_: Round, why: str, *, nobody_answered: bool = False) -> None:
        round_.undo()
        round_.summary.given_up = True
        self.rounds_done += 1
        self.failed_rounds.record_failure(
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
            "rounds_done": self.rounds_done,
            "rounds_trained": self.rounds_trained,
            "ledger": self.ledger.state_dict(),
            "sample_uploads": self.sample_uploads.state_dict(),
            "pauses": self.pauses.state_dict(),
            **{name: state.state_dict() for name, state in self.states.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume after the round of a checkpoint: the next ``start`` continues there."""
        state = nested(state, self.states)
        self._first_round = self.rounds_done = int(state["rounds_done"])
        # Earlier checkpoints do not count them.
        self.rounds_trained = int(state.get("rounds_trained", self.rounds_done))
        self.ledger.load_state_dict(state["ledger"])
        self.sample_uploads.load_state_dict(state["sample_uploads"])
        self.pauses.load_state_dict(state["pauses"])
        for name, each in self.states.items():
            each.load_state_dict(state[name])
            each.forget(self.registry.nodes)

"""The arguments that every strategy takes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypedDict

from flwr.app import MetricRecord, RecordDict

from ..compression import Compression
from ..config import check_arguments
from ..config.strategy import StrategyOptions, mebibytes
from .aggregation.aggregation import Aggregation
from .aggregation.fed_opt import FedOpt
from .asynchrony.options import AsyncOptions


class StrategySettings(TypedDict, total=False):
    """Keyword arguments of every strategy; :class:`StrategyArguments` documents them."""

    keep_optimizer_state: bool
    round_timeout: float
    absence_timeout: float
    fraction_reply: float
    max_client_failures: int
    pause_rounds: int
    max_failed_rounds: int
    max_reply_bytes: int
    fraction_train: float
    fraction_evaluate: float
    min_train_nodes: int
    min_evaluate_nodes: int
    min_available_nodes: int
    weighted_by_key: str
    train_metrics_aggr_fn: Callable[[list[RecordDict], str], MetricRecord] | None
    compression: Compression | None
    aggregation: Aggregation | None
    fed_opt: FedOpt | None
    proximal_mu: float
    max_update_ratio: float
    asynchrony: AsyncOptions | None


@dataclass(frozen=True, kw_only=True)
class StrategyArguments:
    """Arguments that every strategy takes by name, with their defaults.

    Parameters
    ----------
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
        A value is out of its bounds.
    """

    keep_optimizer_state: bool = StrategyOptions.keep_optimizer_state
    round_timeout: float = StrategyOptions.round_timeout
    absence_timeout: float = StrategyOptions.absence_timeout
    fraction_reply: float = StrategyOptions.fraction_reply
    max_client_failures: int = StrategyOptions.max_client_failures
    pause_rounds: int = StrategyOptions.pause_rounds
    max_failed_rounds: int = 3
    max_reply_bytes: int = mebibytes(StrategyOptions.max_reply_mib)
    fraction_train: float = StrategyOptions.fraction_train
    fraction_evaluate: float = StrategyOptions.fraction_evaluate
    min_train_nodes: int = StrategyOptions.min_train_nodes
    min_evaluate_nodes: int = 1
    min_available_nodes: int = 1
    weighted_by_key: str = "num-examples"
    train_metrics_aggr_fn: Callable[[list[RecordDict], str], MetricRecord] | None = None
    compression: Compression | None = None
    aggregation: Aggregation | None = None
    fed_opt: FedOpt | None = None
    proximal_mu: float = StrategyOptions.proximal_mu
    max_update_ratio: float = StrategyOptions.max_update_ratio
    asynchrony: AsyncOptions | None = None

    def __post_init__(self) -> None:
        check_arguments(
            StrategyOptions,
            fraction_train=self.fraction_train,
            fraction_evaluate=self.fraction_evaluate,
            fraction_reply=self.fraction_reply,
            min_train_nodes=self.min_train_nodes,
            max_client_failures=self.max_client_failures,
            pause_rounds=self.pause_rounds,
            max_update_ratio=self.max_update_ratio,
            proximal_mu=self.proximal_mu,
            round_timeout=self.round_timeout,
            absence_timeout=self.absence_timeout,
        )

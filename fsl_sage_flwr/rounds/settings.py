"""The arguments of every strategy."""

from collections.abc import Callable
from typing import TypedDict

from flwr.app import MetricRecord, RecordDict

from ..messages import Compression
from ..task import SplitTask
from .aggregation.aggregation import Aggregation


class StrategySettings(TypedDict, total=False):
    """Keyword arguments of every strategy; :class:`SplitStrategy` documents them."""

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
    max_update_ratio: float


def check_batches_per_exchange(task: SplitTask, batches: int) -> None:
    """Refuse several batches an exchange where each step clips its own samples.

    Raises
    ------
    ValueError
        The number is wrong for the task.
    """
    check_at_least_one(batches_per_exchange=batches)
    if batches > 1 and task.client_privacy is not None:
        raise ValueError(
            f"batches_per_exchange = {batches}: with client_privacy the samples of a step are "
            "those of one exchange; it must be 1"
        )


def check_at_least_one(**counts: int) -> None:
    """Refuse a count that is less than 1.

    Raises
    ------
    ValueError
        Names the first.
    """
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name} = {count}: it must be at least 1")

"""The algorithms that a run can name: each a strategy, and what clients do for it."""

from collections.abc import Callable, Mapping
from typing import Any

from .client_apps import cse_fsl, fed_avg, fsl_sage, split_fed
from .client_apps.handlers import Handler, register_handlers
from .splitting import AlignmentRecipe
from .strategies import (
    CseFsl,
    FslSage,
    FullModelFedAvg,
    SplitFedV1,
    SplitFedV2,
    SplitStrategy,
)
from .task import SplitTask

BuildStrategy = Callable[[SplitTask, Any], SplitStrategy]


def register_algorithm(
    name: str, build: BuildStrategy, handlers: Mapping[str, Handler] | None = None
) -> None:
    """Add an algorithm, so that ``algorithm = "name"`` means it.

    The module that does so must be imported by server and clients alike, before
    ``fsl_sage_flwr.client_app``, whose ClientApp is made when it is imported.

    Parameters
    ----------
    name : str
        Its name in the run configuration.
    build : callable
        From the task and the resolved run configuration (a ``RunConfig``) to a strategy;
        :func:`common_arguments` reads what all of them share.
    handlers : mapping of str to callable, optional
        What clients do, by message type, if they do something new:
        ``(message, context, task) -> message``.

    Raises
    ------
    ValueError
        The name or a message type is taken.
    """
    if name in ALGORITHMS:
        raise ValueError(f"algorithm {name!r} is registered already; choose another name")
    register_handlers(handlers or {})
    ALGORITHMS[name] = build


def common_arguments(config: Any) -> dict[str, Any]:
    """Return the arguments of every strategy that the run configuration has keys for."""
    return {
        "keep_optimizer_state": config.keep_optimizer_state,
        "fraction_train": config.fraction_train,
        "fraction_evaluate": config.fraction_evaluate,
        "min_train_nodes": config.min_train_nodes,
        "round_timeout": config.round_timeout,
        "max_reply_bytes": int(config.max_reply_mb * 2**20),
    }


def _fed_avg(task: SplitTask, config: Any) -> SplitStrategy:
    return FullModelFedAvg(task, **common_arguments(config))


def _split_fed_v1(task: SplitTask, config: Any) -> SplitStrategy:
    width = config.batches_per_exchange
    return SplitFedV1(task, batches_per_exchange=width, **common_arguments(config))


def _split_fed_v2(task: SplitTask, config: Any) -> SplitStrategy:
    return SplitFedV2(
        task,
        batches_per_exchange=config.batches_per_exchange,
        server_order=config.server_order,
        **common_arguments(config),
    )


def _cse_fsl(task: SplitTask, config: Any) -> SplitStrategy:
    interval = config.server_update_interval
    return CseFsl(task, server_update_interval=interval, **common_arguments(config))


def _fsl_sage(task: SplitTask, config: Any) -> SplitStrategy:
    return FslSage(
        task,
        server_update_interval=config.server_update_interval,
        align_interval=config.align_interval,
        align_dataset_size=config.align_dataset_size,
        warm_start=config.warm_start,
        recipe=AlignmentRecipe(
            epochs=config.align_epochs,
            batch_size=config.align_batch_size,
            schedule=config.align_lr_schedule,
        ),
        **common_arguments(config),
    )


ALGORITHMS: dict[str, BuildStrategy] = {
    "fed_avg": _fed_avg,
    "sl_multi_server": _split_fed_v1,
    "sl_single_server": _split_fed_v2,
    "cse_fsl": _cse_fsl,
    "fsl_sage": _fsl_sage,
}

for _side in (cse_fsl, fed_avg, fsl_sage, split_fed):
    register_handlers(_side.HANDLERS)

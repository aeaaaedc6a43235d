"""Make a ClientApp that speaks every algorithm of the package."""

from collections.abc import Callable, Mapping
from typing import Any

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from ..messages import (
    CSE_FSL_TRAIN,
    DESCRIBE,
    EVALUATE_FULL_MODEL,
    EVALUATE_SPLIT,
    FED_AVG_TRAIN,
    FSL_SAGE_PROBE,
    FSL_SAGE_TRAIN,
    SPLIT_FED_EXCHANGE,
    SPLIT_FED_FLUSH,
)
from ..task import SplitTask
from . import cse_fsl, fed_avg, fsl_sage, split_fed
from .evaluation import evaluate_full_model, evaluate_split
from .identity import describe
from .task_cache import BuildTask, task_of

Handler = Callable[[Message, Context, SplitTask], Message]

HANDLERS: dict[str, Handler] = {
    FSL_SAGE_PROBE: fsl_sage.probe,
    FSL_SAGE_TRAIN: fsl_sage.train,
    CSE_FSL_TRAIN: cse_fsl.train,
    FED_AVG_TRAIN: fed_avg.train,
    SPLIT_FED_EXCHANGE: split_fed.exchange,
    SPLIT_FED_FLUSH: split_fed.flush,
    EVALUATE_SPLIT: evaluate_split,
    EVALUATE_FULL_MODEL: evaluate_full_model,
}


def register_handlers(handlers: Mapping[str, Handler]) -> None:
    """Add what clients do with messages of new types, in ClientApps built from now on.

    Raises
    ------
    ValueError
        A message type is taken, or is not ``category.identifier`` as Flower wants it.
    """
    for message_type in handlers:
        category, _, identifier = message_type.partition(".")
        if category not in ("train", "evaluate", "query") or not identifier.isidentifier():
            raise ValueError(
                f"message type {message_type!r}: 'train', 'evaluate' or 'query', a dot, and a "
                "name of letters, digits and '_' are needed"
            )
        if message_type in HANDLERS:
            raise ValueError(f"message type {message_type!r} has a handler; choose another name")
    HANDLERS.update(handlers)


def build_client_app(
    task: BuildTask, mods: list[Any] | None = None, train_mods: list[Any] | None = None
) -> ClientApp:
    """Make a ClientApp from a task.

    Parameters
    ----------
    task : callable
        Builds the task from Flower's Context; called once per run in each process.
    mods : list of callable, optional
        Flower mods, run around every message: ``arrays_size_mod``, ``message_size_mod``.
    train_mods : list of callable, optional
        Flower mods, run around the messages that bring the trained weights. Those that want
        a single ArrayRecord, ``fixedclipping_mod`` and its like, work with FedAvg alone: the
        others' messages carry heads, smashed data or gradients beside the client half.

    Returns
    -------
    ClientApp
        To be named ``app`` in the module that ``pyproject.toml`` points to.

    Examples
    --------
    >>> app = build_client_app(lambda context: make_task(context.run_config))
    """
    app = ClientApp(mods=mods)
    category, _, identifier = DESCRIBE.partition(".")
    getattr(app, category)(identifier)(describe)
    for message_type, handler in HANDLERS.items():
        category, _, identifier = message_type.partition(".")
        around = train_mods if category == "train" else None
        getattr(app, category)(identifier, mods=around)(_with_task(handler, task))
    return app


def _with_task(handler: Handler, build: BuildTask) -> Callable[[Message, Context], Message]:
    def handle(message: Message, context: Context) -> Message:
        return handler(message, context, task_of(build, context))

    return handle

"""The declaration of an algorithm, and the registry of algorithms."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from flwr.app import Context, Message
from flwr.serverapp.strategy import Strategy

from .clock.phases import Schedule
from .config import Options, check_options
from .line_style import LineStyle as LineStyle
from .messages import DESCRIBE, EVALUATE_FULL_MODEL, EVALUATE_SPLIT, EVALUATE_TAIL, FORGET
from .registries import Registry, renamed
from .splitting import Cut, Workload
from .task import SplitTask

Handler = Callable[[Message, Context, SplitTask], Message]

OptionsT = TypeVar("OptionsT", bound=Options)


@dataclass(frozen=True)
class Algorithm(Generic[OptionsT]):
    """Declaration of an algorithm; the rest of the package reads nothing else.

    Attributes
    ----------
    name : str
        Name in the run configuration.
    label : str
        Name in tables and pictures.
    strategy : callable
        From the task, the options and the arguments of every strategy (``StrategySettings``) to
        the strategy.
    handlers : Mapping
        Handlers of the clients by message type: ``(message, context, task) -> message``.
    options : type
        Keys of the run configuration that belong to the algorithm.
    round_bytes : callable, optional
        From a cut, a client's round and the options to the bytes of a mean round, both ways, as the
        published figures count: raw tensors, labels free. ``cut = "auto"`` and ``fsl-sage cuts``
        need it.
    schedule : tuple of Phase, optional
        Order of a round, from which the virtual clock computes its seconds; ``fsl-sage time``
        needs it.
    style : LineStyle, optional
        Line in pictures.
    sends_smashed_data : bool
        Whether a client sends more than weights.
    labels_may_stay : bool
        Whether clients may hold the model's tail and keep their labels: ``labels = "client"``.
    private_steps : bool
        Whether clients can take DP-SGD's steps: they send results of such steps and smashed data
        alone.
    replies_may_be_late : bool
        Whether replies to an earlier round's request can be merged: ``async.buffer``.
    trains_client_half : bool
        Whether clients train their half, so that it is averaged.
    """

    name: str
    label: str
    strategy: Callable[[SplitTask, OptionsT, Any], Strategy]
    handlers: Mapping[str, Handler]
    options: type[OptionsT]
    round_bytes: Callable[[Cut, Workload, OptionsT], int] | None = None
    schedule: Schedule | None = None
    style: LineStyle | None = None
    sends_smashed_data: bool = True
    labels_may_stay: bool = False
    private_steps: bool = False
    replies_may_be_late: bool = False
    trains_client_half: bool = True


# Message types that every client answers, for all algorithms.
RESERVED = (DESCRIBE, EVALUATE_SPLIT, EVALUATE_FULL_MODEL, EVALUATE_TAIL, FORGET)


def _check(name: str, algorithm: Algorithm[Any], others: Mapping[str, Algorithm[Any]]) -> None:
    """Refuse an algorithm that cannot be registered beside others.

    Raises
    ------
    ValueError
        The name is not the algorithm's own; a message type is taken, or is not Flower's
        ``category.identifier``; or another algorithm declares a key with another default.
    """
    if algorithm.name != name:
        raise ValueError(
            f"algorithm {name!r} is named {algorithm.name!r}; register it under that name"
        )
    taken = _handlers_of(others)
    for message_type, handler in algorithm.handlers.items():
        category, _, identifier = message_type.partition(".")
        if category not in ("train", "evaluate", "query") or not identifier.isidentifier():
            raise ValueError(
                f"message type {message_type!r}: 'train', 'evaluate' or 'query', a dot, and a "
                "name of letters, digits and '_' are needed"
            )
        if message_type in RESERVED:
            raise ValueError(
                f"message type {message_type!r} is the package's own; choose another name"
            )
        # Two algorithms may share one protocol: then their handlers are the same functions.
        if taken.get(message_type, handler) is not handler:
            raise ValueError(f"message type {message_type!r} has a handler; choose another name")
    check_options(name, algorithm.options, {key: other.options for key, other in others.items()})


ALGORITHMS = Registry[Algorithm[Any]]("algorithm", Algorithm, _check)
"""Algorithms by name: valid for ``algorithm``.

One that is registered in a module must be registered before the run configuration is read and
before a ClientApp is built (``fsl_sage_flwr.client_app`` is built when it is imported).
"""


def algorithm_of(strategy: Strategy) -> str:
    """Return the name of a strategy's algorithm; the name of its class if none is registered."""
    module = type(strategy).__module__
    names = [a.name for a in ALGORITHMS.values() if a.strategy.__module__ == module]
    return names[0] if names else type(strategy).__name__


def handlers() -> dict[str, Handler]:
    """Return the handlers of all algorithms, by message type."""
    return _handlers_of(ALGORITHMS)


def _handlers_of(algorithms: Mapping[str, Algorithm[Any]]) -> dict[str, Handler]:
    return {
        message_type: handler
        for algorithm in algorithms.values()
        for message_type, handler in algorithm.handlers.items()
    }


def label_of(name: str) -> str:
    """Return an algorithm's label; its name if it is not registered here."""
    return ALGORITHMS[name].label if name in ALGORITHMS else name


if not TYPE_CHECKING:  # a type checker would take any name for one that exists
    __getattr__ = renamed(register_algorithm="ALGORITHMS.register(algorithm.name, algorithm)")

"""What an algorithm declares, and the table of those that are registered."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from flwr.app import Context, Message
from flwr.serverapp.strategy import Strategy

from .config import Options, check_options
from .messages import DESCRIBE, EVALUATE_FULL_MODEL, EVALUATE_SPLIT, FORGET
from .splitting import Cut, Workload
from .task import SplitTask

Handler = Callable[[Message, Context, SplitTask], Message]

OptionsT = TypeVar("OptionsT", bound=Options)


@dataclass(frozen=True)
class LineStyle:
    """Colour, marker and dashes of one algorithm in pictures: each of them alone tells it apart."""

    colour: str
    marker: str
    dashes: str | tuple[int, tuple[float, ...]]
    size: float = 4.0  # points; a star must be larger to look as large

    def line(self) -> dict[str, Any]:
        """Return the arguments of matplotlib's ``Axes.plot``."""
        return {"color": self.colour, "marker": self.marker, "linestyle": self.dashes,
                "markersize": self.size}  # fmt: skip


@dataclass(frozen=True)
class Algorithm(Generic[OptionsT]):
    """All that the rest of the package needs to know of an algorithm.

    Attributes
    ----------
    name : str
        Its name in the run configuration.
    label : str
        Its name in tables and pictures.
    strategy : callable
        From the task, the options and the arguments that every strategy takes
        (``StrategySettings``) to a strategy.
    handlers : Mapping
        What clients do, by message type: ``(message, context, task) -> message``.
    options : type
        Its keys of the run configuration.
    round_bytes : callable, optional
        From a cut, a client's round and the options to the bytes of that round, both ways, in
        the published figures' way of counting: raw tensors, labels free. ``cut = "auto"``
        and ``fsl-sage cuts`` need it.
    style : LineStyle, optional
        How pictures draw it.
    sends_smashed_data : bool
        Whether anything but weights leaves a client.
    private_steps : bool
        Whether clients' steps can be DP-SGD's: all that they send is made by such steps, or is
        smashed data.
    rehearsal : callable, optional
        From the options to those, and the number of rounds, in which a run reaches its largest
        memory; by default the options as they are, and one round.
    """

    name: str
    label: str
    strategy: Callable[[SplitTask, OptionsT, Any], Strategy]
    handlers: Mapping[str, Handler]
    options: type[OptionsT]
    round_bytes: Callable[[Cut, Workload, OptionsT], int] | None = None
    style: LineStyle | None = None
    sends_smashed_data: bool = True
    private_steps: bool = False
    rehearsal: Callable[[OptionsT], tuple[OptionsT, int]] | None = None


# What every client answers, whatever the algorithm.
RESERVED = (DESCRIBE, EVALUATE_SPLIT, EVALUATE_FULL_MODEL, FORGET)

ALGORITHMS: dict[str, Algorithm[Any]] = {}


def register_algorithm(algorithm: Algorithm[Any]) -> None:
    """Add an algorithm, so that ``algorithm = "name"`` means it and its keys are known.

    The module that does so must be imported by server and clients alike, before the run
    configuration is read and before a ClientApp is built (``fsl_sage_flwr.client_app`` is built
    when it is imported).

    Raises
    ------
    ValueError
        The name is taken; a message type is taken or is not ``category.identifier`` as Flower
        wants it; or a key is declared otherwise by another algorithm.
    """
    if algorithm.name in ALGORITHMS:
        raise ValueError(f"algorithm {algorithm.name!r} is registered already; choose another name")
    taken = handlers()
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
    others = {other.name: other.options for other in ALGORITHMS.values()}
    check_options(algorithm.name, algorithm.options, others)
    ALGORITHMS[algorithm.name] = algorithm


def algorithm_of(strategy: Strategy) -> str:
    """Return the name of the algorithm that a strategy is of; else the name of its class."""
    module = type(strategy).__module__
    names = [a.name for a in ALGORITHMS.values() if a.strategy.__module__ == module]
    return names[0] if names else type(strategy).__name__


def handlers() -> dict[str, Handler]:
    """Return what clients do, by message type, for every algorithm."""
    return {
        message_type: handler
        for algorithm in ALGORITHMS.values()
        for message_type, handler in algorithm.handlers.items()
    }


def label_of(name: str) -> str:
    """Return what an algorithm is called; one that is not registered here by its name."""
    return ALGORITHMS[name].label if name in ALGORITHMS else name

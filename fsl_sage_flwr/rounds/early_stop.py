"""Hand Flower's round loop the argument that ends it early, where the installed Flower has it."""

import inspect
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from typing import TypeVar, cast

from flwr.serverapp.strategy import Result

ShouldStop = Callable[[int, Result], bool]
"""From the number of a finished round, counted by ``start``, and the result so far."""

ARGUMENT = "should_stop"
StartT = TypeVar("StartT", bound=Callable[..., Result])


def with_should_stop(start: StartT, should_stop: ShouldStop | None) -> StartT:
    """Return a strategy's ``start`` of Flower with the argument bound; unchanged for None.

    Raises
    ------
    TypeError
        The installed Flower has no such argument: 1.43 is the first that does.
    """
    if should_stop is None:
        return start
    if ARGUMENT not in inspect.signature(start).parameters:
        raise TypeError(
            f"{ARGUMENT}: Flower {version('flwr')} has no such argument; install 1.43 or later, or "
            "leave it out"
        )
    return cast(StartT, partial(start, should_stop=should_stop))

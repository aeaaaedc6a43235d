"""Keep built tasks in the process, because building a model costs more than a small message."""

from collections.abc import Callable
from functools import partial
from typing import Any

from flwr.app import Context

from ..task import SplitTask

BuildTask = Callable[[Context], SplitTask]
Key = tuple[int, str, str, str]

# Keys that distinguish the nodes of a federation; a task must not depend on them.
PLACE = ("partition-id", "num-partitions")

# At module level, because only modules persist: with every message the simulation pickles the
# ClientApp and everything it refers to into its actors.
_last: dict[Key, SplitTask] = {}


def task_of(build: BuildTask, context: Context) -> SplitTask:
    """Return the task of a message's run.

    A process serves any node, and several runs in sequence; it keeps the last run's task. Each
    message loads its client's state into the task. A node with configuration beyond its place in
    the federation, such as its own data, gets a separate task.

    Parameters
    ----------
    build : callable
        Builds the task from Flower's Context. It may depend on the run's and the node's
        configuration, but not on the node's partition. Identified by module, name and, of a
        ``functools.partial``, arguments.
    context : Context
        Flower's Context of the current message.
    """
    more = sorted((k, v) for k, v in context.node_config.items() if k not in PLACE)
    named, arguments = function_of(build)
    key = (context.run_id, named.__module__, f"{named.__qualname__}{arguments}", repr(more))
    if key not in _last:
        for other in [other for other in _last if other[:3] != key[:3]]:
            del _last[other]
        _last[key] = build(context)
    return _last[key]


def function_of(build: BuildTask) -> tuple[Any, str]:
    """Return what has a module and a name, and the arguments of the partials around it.

    It is the function, or the class of a callable object.
    """
    arguments, function = "", build
    while isinstance(function, partial):
        arguments += repr((function.args, sorted(function.keywords.items())))
        function = function.func
    return (function if hasattr(function, "__qualname__") else type(function)), arguments


def forget_tasks() -> None:
    """Remove the cached tasks."""
    _last.clear()

"""Keep built tasks in the process: building a model costs more than a small message."""

from collections.abc import Callable

from flwr.app import Context

from ..task import SplitTask

BuildTask = Callable[[Context], SplitTask]
Key = tuple[int, str, str, str]

# What tells a federation's nodes apart, and no task may depend on.
PLACE = ("partition-id", "num-partitions")

# At module level: the simulation pickles the ClientApp into its actors anew with every
# message, and what hangs on it; modules stay.
_last: dict[Key, SplitTask] = {}


def task_of(build: BuildTask, context: Context) -> SplitTask:
    """Return the task of the run that a message belongs to.

    A process serves any node, and several runs one after the other; the last run's task
    is kept. Everything of a client that matters is loaded into it for each message. Nodes
    whose configurations say more than their place in the federation (data of their own) have
    a task each.

    Parameters
    ----------
    build : callable
        From Flower's Context to the task; only the run's and the node's configuration may
        matter, and not which partition the node is. Told apart by module and name.
    context : Context
        Flower's Context of the message at hand.
    """
    more = sorted((k, v) for k, v in context.node_config.items() if k not in PLACE)
    key = (context.run_id, build.__module__, build.__qualname__, repr(more))
    if key not in _last:
        for other in [other for other in _last if other[:3] != key[:3]]:
            del _last[other]
        _last[key] = build(context)
    return _last[key]


def forget_tasks() -> None:
    """Forget the kept tasks."""
    _last.clear()

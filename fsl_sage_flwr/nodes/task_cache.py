"""Keep built tasks in the process: building a model costs more than a small message."""

from collections.abc import Callable

from flwr.app import Context

from ..task import SplitTask

BuildTask = Callable[[Context], SplitTask]
Key = tuple[int, str, str, str]

# These tell the nodes of a federation apart; a task must not depend on them.
PLACE = ("partition-id", "num-partitions")

# At module level, since only modules last: with every message the simulation pickles the
# ClientApp, and all that it refers to, into its actors again.
_last: dict[Key, SplitTask] = {}


def task_of(build: BuildTask, context: Context) -> SplitTask:
    """Return the task of the run that a message belongs to.

    A process serves any node, and several runs one after the other; it keeps the task of the
    last run. Each message loads the state of its client into the task. A node whose
    configuration says more than its place in the federation (such as its own data) has its
    own task.

    Parameters
    ----------
    build : callable
        From Flower's Context to the task; only the run's and the node's configuration may
        matter, and not which partition the node is. Told apart by module and name.
    context : Context
        Flower's Context of the current message.
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

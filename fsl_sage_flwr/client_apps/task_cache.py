"""Keep built tasks in the process: building a model costs more than a small message."""

from collections.abc import Callable

from flwr.app import Context

from ..task import SplitTask

BuildTask = Callable[[Context], SplitTask]
Key = tuple[int, str, str]

# At module level: the simulation pickles the ClientApp into its actors anew with every
# message, and what hangs on it; modules stay.
_last: dict[Key, SplitTask] = {}


def task_of(build: BuildTask, context: Context) -> SplitTask:
    """Return the task of the run that a message belongs to.

    A process serves any node, and several runs one after the other; the last run's task
    is kept. Everything of a client that matters is loaded into it for each message.

    Parameters
    ----------
    build : callable
        From Flower's Context to the task; only the run's own configuration may matter.
        Told apart by module and name.
    context : Context
        Flower's Context of the message at hand.
    """
    key = (context.run_id, build.__module__, build.__qualname__)
    if key not in _last:
        _last.clear()
        _last[key] = build(context)
    return _last[key]


def forget_tasks() -> None:
    """Forget the kept task."""
    _last.clear()

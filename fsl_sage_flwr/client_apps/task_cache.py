"""Keep built tasks in the process: building a model costs more than a small message."""

from collections.abc import Callable

from flwr.app import Context

from ..task import SplitTask


class TaskCache:
    """The task of the run that a message belongs to.

    A process serves any node, and several runs one after the other; the last run's task
    is kept. Everything of a client that matters is loaded into it for each message.

    Parameters
    ----------
    build : callable
        From Flower's Context to the task; only the run's own configuration may matter.
    """

    def __init__(self, build: Callable[[Context], SplitTask]) -> None:
        self._build = build
        self._run_id: int | None = None
        self._task: SplitTask | None = None

    def get(self, context: Context) -> SplitTask:
        """Return the run's task, built when it is not the last one."""
        if self._task is None or self._run_id != context.run_id:
            self._task = self._build(context)
            self._run_id = context.run_id
        return self._task

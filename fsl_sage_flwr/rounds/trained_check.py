"""Check the weights that clients have trained, and their average."""

from collections.abc import Mapping

from torch import Tensor

from ..messages import TrainReply
from ..task import SplitTask
from .checks.finite_check import FiniteCheck
from .checks.untrained import UntrainedClientWeights
from .client_weights import ClientHalfWeights


class TrainedCheck:
    """Finds weights that are not finite, and warns of those that no round changes.

    Parameters
    ----------
    task : SplitTask
        What is trained.
    trained : ClientHalfWeights
        What clients train.
    """

    def __init__(self, task: SplitTask, trained: ClientHalfWeights) -> None:
        self._task, self._trained = task, trained
        self._finite, self._untrained = FiniteCheck(task), UntrainedClientWeights()

    def problem_with_reply(self, reply: TrainReply) -> str | None:
        """Return the problem with the weights in a client's last reply, or None."""
        parts = [] if reply.client_half is None else list(self._trained.parts(reply.client_half))
        if reply.auxiliary is not None:
            parts.append((self._task.head, reply.auxiliary))
        return self._finite.problem_with_trained(parts)

    def problem_with_average(self, average: Mapping[str, Tensor]) -> str | None:
        """Return the problem with an average, or None."""
        return self._finite.problem_with_trained(self._trained.parts(average))

    def record(self, before: Mapping[str, Tensor], average: Mapping[str, Tensor]) -> None:
        """Compare the weights before and after a round that counts."""
        self._untrained.record(self._trained.parts(before), self._trained.parts(average))

"""What strategies with a single server half keep, undo and save alike."""

import copy
from collections.abc import Mapping
from typing import Any

from ..messages import TrainReply
from ..task import SplitTask
from .split_strategy import SplitStrategy


class OneServerHalf(SplitStrategy[TrainReply]):
    """One server half and one optimizer, whichever client's batch they are stepped on.

    Parameters
    ----------
    task : SplitTask
        What is trained.
    **strategy
        Arguments of the classes behind this one.
    """

    def __init__(self, task: SplitTask, **strategy: Any) -> None:
        super().__init__(task, **strategy)
        self.server_optimizer = task.server_optimizer(task.model.server.parameters())

    def _save_server(self) -> Any:
        return copy.deepcopy(
            (self.task.model.server.state_dict(), self.server_optimizer.state_dict())
        )

    def _restore_server(self, saved: Any) -> None:
        # A copy: an optimizer steps on the very tensors that it is given.
        self._load_server(*copy.deepcopy(saved))

    def _load_server(self, weights: Mapping[str, Any], optimizer: dict[str, Any]) -> None:
        self.task.model.server.load_state_dict(weights)
        self.server_optimizer.load_state_dict(optimizer)

    def state_dict(self) -> dict[str, Any]:
        """Return the server half and its optimizer, beside what every strategy saves."""
        return {
            **super().state_dict(),
            "server_half": self.task.model.server.state_dict(),
            "server_optimizer": self.server_optimizer.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint."""
        super().load_state_dict(state)
        self._load_server(state["server_half"], state["server_optimizer"])

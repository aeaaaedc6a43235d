"""CSE-FSL: clients train on an auxiliary head's own loss."""

from collections.abc import Mapping
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, RecordDict

from ..messages import CSE_FSL_TRAIN, TrainReply
from ..task import SplitTask
from .shared_head import SharedHead
from .split_grid import SplitGrid
from .upload_strategy import UploadStrategy


class CseFsl(UploadStrategy):
    """CSE-FSL (arXiv 2507.15816): the head's loss trains head and client half.

    A round is one request and one reply per client: the averaged client half and the
    averaged auxiliary head down, both up again with every q-th batch's smashed data. The
    server half is stepped on the uploads; nothing ever comes back through the cut.

    The client's half of the contract is ``fsl_sage_flwr.client_apps.cse_fsl``.

    Parameters
    ----------
    task : SplitTask
        What is trained. ``auxiliary_from_server`` has no meaning here: heads begin at
        random, all alike.
    **strategy
        Arguments of :class:`UploadStrategy`, :class:`SplitStrategy` and Flower's ``FedAvg``.
    """

    message_type = CSE_FSL_TRAIN

    def __init__(self, task: SplitTask, **strategy: Any) -> None:
        super().__init__(task, **strategy)
        self.head = SharedHead(task)

    def _requests(
        self, clients: list[int], arrays: ArrayRecord, config: ConfigRecord, grid: SplitGrid
    ) -> dict[int, RecordDict]:
        return self._shared_head_requests(self.head, clients, arrays, config)

    def _read(self, client: int, content: RecordDict) -> TrainReply:
        return self._read_with(content, upload="required", auxiliary=self.head.state)

    def _finish(self, replies: Mapping[int, TrainReply]) -> None:
        super()._finish(replies)
        self.head.finish(replies)

    def state_dict(self) -> dict[str, Any]:
        """Return the averaged head beside the rest."""
        return {**super().state_dict(), "head": self.head.state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint."""
        super().load_state_dict(state)
        self.head.state = dict(state["head"])

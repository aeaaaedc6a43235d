"""SplitFed V1: a server half per client, averaged each round."""

import copy
from collections.abc import Mapping
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, RecordDict

from ..messages import TrainReply
from ..task import SplitTask
from .averaging import average
from .split_fed import Half, SplitFed
from .split_grid import SplitGrid


class SplitFedV1(SplitFed):
    """SplitFed V1 (``sl_multi_server``): one server half per client, averaged each round.

    Equal to FedAvg of the whole model on the same batches. The server holds a copy of the
    server half, and its optimizer's state, for every client. Of a client that is lost in a
    round nothing stays, not the steps of its optimizer either.
    """

    def __init__(self, task: SplitTask, **strategy: Any) -> None:
        super().__init__(task, **strategy)
        self._halves: dict[int, Half] = {}
        self._in_round: set[int] = set()

    def _requests(
        self, clients: list[int], arrays: ArrayRecord, config: ConfigRecord, grid: SplitGrid
    ) -> dict[int, RecordDict]:
        self._in_round = set()
        return super()._requests(clients, arrays, config, grid)

    def _half_of(self, client: int) -> Half:
        if client not in self._halves:
            half = copy.deepcopy(self.task.model.server)
            self._halves[client] = half, self.task.server_optimizer(half.parameters())
        half, optimizer = self._halves[client]
        if client not in self._in_round:
            self._in_round.add(client)
            half.load_state_dict(self.task.model.server.state_dict())
            if not self.keep_optimizer_state:
                optimizer = self.task.server_optimizer(half.parameters())
                self._halves[client] = half, optimizer
        return half, optimizer

    def _finish(self, replies: Mapping[int, TrainReply]) -> None:
        for client in self._in_round - set(replies):
            self._restore_optimizer(client, self._saved)
        self._losses = [loss for loss in self._losses if loss.client in replies]
        super()._finish(replies)
        states = [self._halves[client][0].state_dict() for client in replies]
        weights = [float(reply.num_examples) for reply in replies.values()]
        self.task.model.server.load_state_dict(average(states, weights))

    def _save_server(self) -> Any:
        return {
            client: copy.deepcopy(optimizer.state_dict())
            for client, (_, optimizer) in self._halves.items()
        }

    def _restore_server(self, saved: Any) -> None:
        """Put optimizers back; the halves themselves begin each round at the average."""
        for client in {*self._halves, *saved}:
            self._restore_optimizer(client, saved)

    def _restore_optimizer(self, client: int, saved: Any) -> None:
        if client in saved:
            self._half_of(client)[1].load_state_dict(saved[client])
        else:
            del self._halves[client]

    def state_dict(self) -> dict[str, Any]:
        """Return the averaged server half and every client's optimizer."""
        return {
            **super().state_dict(),
            "server_half": self.task.model.server.state_dict(),
            "server_optimizers": self._save_server(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint."""
        super().load_state_dict(state)
        self.task.model.server.load_state_dict(state["server_half"])
        self._restore_server(state["server_optimizers"])

"""SplitFed V2: one server half for all clients."""

import logging
import random
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from flwr.app import ConfigRecord, RecordDict
from torch import Tensor

from ..messages import ExchangeReply
from ..seeding import derive_seed
from ..task import SplitTask
from .one_server_half import OneServerHalf
from .split_fed import Gradients, Group, Half, SplitFed
from .split_grid import SplitGrid

log = logging.getLogger("flwr.fsl_sage")


class SplitFedV2(OneServerHalf, SplitFed):
    """SplitFed V2 (``sl_single_server``): one server half, stepped by every batch.

    The clients' batches of the same exchange are taken one after the other, their order
    shuffled by the run's seed.

    When a client is lost whose batches the server half has been stepped on, the server half
    is put back, and the others' exchanges begin again: what was learnt from half a client
    cannot be told from the rest. A client lost after its last batch leaves all of them.

    Parameters
    ----------
    server_order : {"batch", "client"}
        ``"client"`` trains with one whole client after the other, as the reference does.
    """

    def __init__(self, task: SplitTask, *, server_order: str = "batch", **strategy: Any) -> None:
        super().__init__(task, **strategy)
        self.server_order = server_order
        self._answered: set[int] = set()

    def _groups(self, clients: list[int]) -> list[list[int]]:
        if self.server_order == "batch":
            return [clients]
        return [[client] for client in self._shuffled(clients, "whole clients")]

    def _order(self, clients: list[int], exchange: int) -> list[int]:
        return self._shuffled(clients, exchange)

    def _shuffled(self, clients: list[int], purpose: int | str) -> list[int]:
        draw = random.Random(derive_seed(self.task.seed, "order", self.rounds_done, purpose))
        return draw.sample(clients, len(clients))

    def _exchanges(
        self,
        group: Group,
        client_half: Mapping[str, Tensor],
        config: ConfigRecord,
        grid: SplitGrid,
    ) -> dict[int, RecordDict]:
        saved = self._saved if group.start == 0 else self._save_server()
        losses = len(self._losses)
        while True:
            self._answered.clear()
            flushes = super()._exchanges(group, client_half, config, grid)
            if not self._must_begin_again(flushes):
                return flushes
            log.warning(
                "round %d: clients %s begin again, without the batches of %s",
                self.last_round.round, sorted(flushes),
                sorted(self._answered - set(flushes)),
            )  # fmt: skip
            self._restore_server(saved)
            del self._losses[losses:]
            group = replace(group, clients=sorted(flushes), attempt=group.attempt + 1)

    def _must_begin_again(self, left: Iterable[int]) -> bool:
        return not self._answered <= set(left)

    def _answer(self, client: int, exchange: int, reply: ExchangeReply, group: Group) -> Gradients:
        self._answered.add(client)
        return super()._answer(client, exchange, reply, group)

    def _half_of(self, client: int) -> Half:
        return self.task.model.server, self.server_optimizer

"""SplitFed: the server half answers every batch with its gradient."""

import time
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from flwr.app import ArrayRecord, ConfigRecord, RecordDict
from torch import Tensor, nn

from ..messages import (
    SPLIT_FED_EXCHANGE,
    SPLIT_FED_FLUSH,
    ExchangeReply,
    ExchangeRequest,
    TrainReply,
    join_gradients,
)
from ..schedules import set_rate
from ..splitting import answer_step
from ..task import SplitTask
from .split_grid import SplitGrid
from .split_strategy import SplitStrategy

Gradients = tuple[Tensor, ...]
Half = tuple[nn.Module, torch.optim.Optimizer]


@dataclass(frozen=True)
class Group:
    """Clients that exchange in step.

    Attributes
    ----------
    clients : list of int
        Partition ids.
    start, length : float
        Where in the round they begin, and how much of it they make.
    attempt : int
        How often they have begun before in this round.
    """

    clients: list[int]
    start: float
    length: float
    attempt: int = 0


class SplitFed(SplitStrategy[TrainReply]):
    """What both versions of SplitFed (Thapa et al., AAAI 2022, arXiv 2004.12088) share.

    Each batch is one exchange with all clients in step: gradients of the batch before
    down, smashed data of the next up; the last gradients go down in the message that is
    answered with the client half. A client with fewer batches has none left. A client
    lost within a round is left out of its average, and the rest goes on.

    The client's half of the contract is ``fsl_sage_flwr.client_apps.split_fed``.

    Parameters
    ----------
    task : SplitTask
        What is trained.
    batches_per_exchange : int
        Batches that go forward with the same weights in one exchange; their gradients
        are stepped through one after the other. 1 is exact. More makes a round of fewer
        messages, for links on which a message costs seconds, at the price of gradients
        that are up to that many steps old.
    **strategy
        Arguments of :class:`SplitStrategy` and Flower's ``FedAvg``.
    """

    message_type = SPLIT_FED_FLUSH

    def __init__(self, task: SplitTask, *, batches_per_exchange: int = 1, **strategy: Any) -> None:
        super().__init__(task, **strategy)
        self.batches_per_exchange = batches_per_exchange
        self._half_like = {k: v.cpu() for k, v in task.model.client.state_dict().items()}

    @abstractmethod
    def _half_of(self, client: int) -> Half:
        """Return the server half, and its optimizer, that answers a client."""

    def _groups(self, clients: list[int]) -> list[list[int]]:
        """Return the clients that exchange in step, one group after the other."""
        return [clients]

    def _order(self, clients: list[int], exchange: int) -> list[int]:
        """Return the order in which the server half answers an exchange."""
        return clients

    def _requests(
        self, clients: list[int], arrays: ArrayRecord, config: ConfigRecord, grid: SplitGrid
    ) -> dict[int, RecordDict]:
        client_half = arrays.to_torch_state_dict()
        flushes = {}
        groups = self._groups(clients)
        for i, members in enumerate(groups):
            group = Group(members, i / len(groups), 1 / len(groups))
            flushes.update(self._exchanges(group, client_half, config, grid))
        return dict(sorted(flushes.items()))

    def _exchanges(
        self,
        group: Group,
        client_half: Mapping[str, Tensor],
        config: ConfigRecord,
        grid: SplitGrid,
    ) -> dict[int, RecordDict]:
        """Do all exchanges of a round with some clients; return the flushes of those left."""
        active, gradients = list(group.clients), dict[int, Gradients]()
        promised = dict[int, int]()
        exchanges = dict.fromkeys(group.clients, 0)
        before = {client: self._waited_for(client) for client in group.clients}
        exchange = 0
        while active:
            requests = {
                client: self._request(
                    client,
                    group.attempt,
                    exchange,
                    client_half if exchange == 0 else None,
                    gradients,
                ).to_records(config)
                for client in active
            }
            replies: dict[int, ExchangeReply] = self._exchange(
                grid,
                requests,
                SPLIT_FED_EXCHANGE,
                partial(self._read_exchange, exchange, promised),
            )
            for client in set(active) - set(replies):
                del exchanges[client]
            if self._must_begin_again(exchanges):
                break
            began = time.perf_counter()
            for client in self._order(sorted(replies), exchange):
                gradients[client] = self._answer(client, exchange, replies[client], group)
                exchanges[client] = exchange + 1
            self.last_round.server_seconds += time.perf_counter() - began
            promised = {client: reply.batches for client, reply in replies.items()}
            exchange += 1
            sent = exchange * self.batches_per_exchange
            active = [client for client, reply in replies.items() if sent < reply.batches]
            # A round's time, in all: how many batches it has is the client's word.
            late = [c for c in active if self._waited_for(c) - before[c] > self.round_timeout]
            for client in late:
                self._leave_out(client, f"its exchanges took longer than {self.round_timeout:g} s")
                del exchanges[client]
                active.remove(client)
            if self._must_begin_again(exchanges):
                break
        return {
            client: self._request(client, group.attempt, count, None, gradients).to_records(config)
            for client, count in exchanges.items()
        }

    def _must_begin_again(self, left: Iterable[int]) -> bool:
        """Tell whether the exchanges so far count for nothing, as not all clients are left."""
        return False

    def _waited_for(self, client: int) -> float:
        """Return the seconds of this round in which a client owed an answer."""
        return self._traffic[self.roster.nodes[client]].seconds

    def _request(
        self,
        client: int,
        attempt: int,
        exchange: int,
        client_half: Mapping[str, Tensor] | None,
        gradients: Mapping[int, Gradients],
    ) -> ExchangeRequest:
        return ExchangeRequest(
            round=self.rounds_done,
            attempt=attempt,
            exchange=exchange,
            batches_per_exchange=self.batches_per_exchange,
            keep_optimizer_state=self.keep_optimizer_state,
            trained_before=self._trained_before(client),
            client_half=client_half,
            gradients=gradients.get(client, ()),
        )

    def _read_exchange(
        self, exchange: int, promised: Mapping[int, int], client: int, content: RecordDict
    ) -> ExchangeReply:
        return ExchangeReply.take_from(
            content,
            round_=self.rounds_done,
            exchange=exchange,
            width=self.batches_per_exchange,
            spec=self._spec,
            promised=promised.get(client),
        )

    def _answer(self, client: int, exchange: int, reply: ExchangeReply, group: Group) -> Gradients:
        """Step the server half on an exchange; return the gradients for the client."""
        half, optimizer = self._half_of(client)
        self.task.reseed("server", self.rounds_done, client, exchange)
        answers = []
        for k, (tensors, labels) in enumerate(reply.smashed, exchange * self.batches_per_exchange):
            progress = self.rounds_done + group.start + group.length * k / reply.batches
            set_rate(optimizer, self.task.server_schedule, progress)
            loss, gradients = answer_step(
                half,
                optimizer,
                self.task.to_device(tensors),
                labels.to(self.task.device),
                self.task.loss,
                self.task.autocast,
            )
            self._note_loss(client, loss, len(labels))
            answers.append(gradients)
        return join_gradients(answers)

    def _read(self, client: int, content: RecordDict) -> TrainReply:
        return TrainReply.take_from(
            content,
            expected_round=self.rounds_done,
            client_half=self._half_like,
            spec=self._spec,
            weighted_by_key=self.weighted_by_key,
        )

    def _serve(self, client: int, reply: TrainReply) -> None:
        """Do nothing: the exchanges did."""

    def _finish(self, replies: Mapping[int, TrainReply]) -> None:
        self._note(replies)

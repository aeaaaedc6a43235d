"""SplitFed: the server half answers every batch with its gradient."""

import copy
import random
import time
from abc import abstractmethod
from collections.abc import Mapping
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
from ..seeding import derive_seed
from ..splitting import answer_step
from ..task import SplitTask
from .averaging import average
from .one_server_half import OneServerHalf
from .split_grid import SplitGrid
from .split_strategy import SplitStrategy

Gradients = tuple[Tensor, ...]
Half = tuple[nn.Module, torch.optim.Optimizer]


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
        for i, group in enumerate(groups):
            part = (i / len(groups), 1 / len(groups))
            flushes.update(self._exchanges(group, part, client_half, config, grid))
        return dict(sorted(flushes.items()))

    def _exchanges(
        self,
        clients: list[int],
        part: tuple[float, float],
        client_half: Mapping[str, Tensor],
        config: ConfigRecord,
        grid: SplitGrid,
    ) -> dict[int, RecordDict]:
        """Do all exchanges of a round with some clients; return their flushes.

        ``part`` says where in the round they are, and how much of it they make.
        """
        active, gradients = list(clients), dict[int, Gradients]()
        promised = dict[int, int]()
        exchanges = dict.fromkeys(clients, 0)
        exchange = 0
        while active:
            requests = {
                client: self._request(
                    client, exchange, client_half if exchange == 0 else None, gradients
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
            began = time.perf_counter()
            for client in self._order(sorted(replies), exchange):
                gradients[client] = self._answer(client, exchange, replies[client], part)
                exchanges[client] = exchange + 1
            self.last_round.server_seconds += time.perf_counter() - began
            promised = {client: reply.batches for client, reply in replies.items()}
            exchange += 1
            sent = exchange * self.batches_per_exchange
            active = [client for client, reply in replies.items() if sent < reply.batches]
            for client in self._too_slow(active):
                self._leave_out(client, f"its exchanges took longer than {self.round_timeout:g} s")
                del exchanges[client]
                active.remove(client)
        return {
            client: self._request(client, count, None, gradients).to_records(config)
            for client, count in exchanges.items()
        }

    def _too_slow(self, clients: list[int]) -> list[int]:
        """Return the clients that have had a round's time: how many batches is their word."""
        nodes = self.roster.nodes
        return [c for c in clients if self._traffic[nodes[c]].seconds > self.round_timeout]

    def _request(
        self,
        client: int,
        exchange: int,
        client_half: Mapping[str, Tensor] | None,
        gradients: Mapping[int, Gradients],
    ) -> ExchangeRequest:
        return ExchangeRequest(
            round=self.rounds_done,
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

    def _answer(
        self, client: int, exchange: int, reply: ExchangeReply, part: tuple[float, float]
    ) -> Gradients:
        """Step the server half on an exchange; return the gradients for the client."""
        half, optimizer = self._half_of(client)
        self.task.reseed("server", self.rounds_done, client, exchange)
        answers = []
        for k, (tensors, labels) in enumerate(reply.smashed, exchange * self.batches_per_exchange):
            start, length = part
            progress = self.rounds_done + start + length * k / reply.batches
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


class SplitFedV1(SplitFed):
    """SplitFed V1 (``sl_multi_server``): one server half per client, averaged each round.

    Equal to FedAvg of the whole model on the same batches. The server holds a copy of the
    server half, and its optimizer's state, for every client.
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
        for client in set(self._halves) - set(saved):
            del self._halves[client]
        for client, state in saved.items():
            self._half_of(client)[1].load_state_dict(state)

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


class SplitFedV2(OneServerHalf, SplitFed):
    """SplitFed V2 (``sl_single_server``): one server half, stepped by every batch.

    The clients' batches of the same exchange are taken one after the other, their order
    shuffled by the run's seed.

    Parameters
    ----------
    server_order : {"batch", "client"}
        ``"client"`` trains with one whole client after the other, as the reference does.
    """

    def __init__(self, task: SplitTask, *, server_order: str = "batch", **strategy: Any) -> None:
        super().__init__(task, **strategy)
        self.server_order = server_order

    def _groups(self, clients: list[int]) -> list[list[int]]:
        if self.server_order == "batch":
            return [clients]
        return [[client] for client in self._shuffled(clients, "whole clients")]

    def _order(self, clients: list[int], exchange: int) -> list[int]:
        return self._shuffled(clients, exchange)

    def _shuffled(self, clients: list[int], purpose: int | str) -> list[int]:
        draw = random.Random(derive_seed(self.task.seed, "order", self.rounds_done, purpose))
        return draw.sample(clients, len(clients))

    def _half_of(self, client: int) -> Half:
        return self.task.model.server, self.server_optimizer

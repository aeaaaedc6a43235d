"""What strategies with uploads every q batches do alike."""

from collections.abc import Mapping
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, RecordDict

from ..messages import SmashedBatches, TrainReply, TrainRequest
from ..schedules import set_rate
from ..splitting import server_step
from ..task import SplitTask
from .one_server_half import OneServerHalf
from .shared_head import SharedHead


class UploadStrategy(OneServerHalf):
    """One server half, stepped on every batch of smashed data that clients upload.

    Clients upload every q-th batch with their reply; the server half is stepped on each,
    clients in ascending order, batches in theirs.

    Parameters
    ----------
    task : SplitTask
        What is trained.
    server_update_interval : int
        q: batches per upload.
    **strategy
        Arguments of :class:`SplitStrategy` and of Flower's ``FedAvg``.
    """

    def __init__(
        self,
        task: SplitTask,
        *,
        server_update_interval: int = 5,
        **strategy: Any,
    ) -> None:
        super().__init__(task, **strategy)
        self.server_update_interval = server_update_interval
        self._half_like = {k: v.cpu() for k, v in task.model.client.state_dict().items()}

    @property
    def auxiliary_parameters(self) -> int:
        """Number of parameters of a client's auxiliary head."""
        return sum(parameter.numel() for parameter in self.task.head.parameters())

    def _shared_head_requests(
        self, head: SharedHead, clients: list[int], arrays: ArrayRecord, config: ConfigRecord
    ) -> dict[int, RecordDict]:
        """Return the requests of a CSE-FSL round, which carry client half and head."""
        client_half = arrays.to_torch_state_dict()
        return {
            client: TrainRequest(
                round=self.rounds_done,
                server_update_interval=self.server_update_interval,
                keep_optimizer_state=self.keep_optimizer_state,
                trained_before=self._trained_before(client),
                auxiliary_version=self.rounds_done,
                client_half=client_half,
                auxiliary=head.state,
            ).to_records(config)
            for client in clients
        }

    def _read_with(self, content: RecordDict, **expected: Any) -> TrainReply:
        return TrainReply.take_from(
            content,
            expected_round=self.rounds_done,
            client_half=self._half_like,
            spec=self._spec,
            weighted_by_key=self.weighted_by_key,
            **expected,
        )

    def _serve(self, client: int, reply: TrainReply) -> None:
        if reply.smashed is not None:
            clients = sorted(self._asked.values())
            part = (clients.index(client) / len(clients), 1 / len(clients))
            self._step(client, reply.smashed, "server", part)

    def _step(
        self, client: int, batches: SmashedBatches, purpose: str, part: tuple[float, float]
    ) -> None:
        """Step on a client's batches; ``part``: where in the round, and how much of it."""
        self.task.reseed(purpose, self.rounds_done, client)
        start, length = part
        for k, (tensors, labels) in enumerate(batches):
            progress = self.rounds_done + start + length * k / len(batches.batch_sizes)
            set_rate(self.server_optimizer, self.task.server_schedule, progress)
            loss = server_step(
                self.task.model.server,
                self.server_optimizer,
                self.task.to_device(tensors),
                labels.to(self.task.device),
                self.task.loss,
                self.task.autocast,
            )
            self._note_loss(client, loss, len(labels))

    def _finish(self, replies: Mapping[int, TrainReply]) -> None:
        self._note(replies)

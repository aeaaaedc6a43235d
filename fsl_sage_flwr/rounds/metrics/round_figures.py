"""The figures of one round: losses, seconds and bytes, by client and in all."""

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from flwr.app import ArrayRecord, Message

from ...messages import TrainReply
from ...messages.arrays import to_arrays
from ..aggregation.averaging import weighted_mean
from ..checks.norm_outliers import Sent
from ..clients.client_registry import ClientRegistry
from ..grid.node_traffic import NodeTraffic
from .client_round import ClientRound, update_norm
from .round_summary import RoundSummary, StepLoss
from .sample_uploads import SampleUploads

log = logging.getLogger("flwr.fsl_sage")


class RoundFigures:
    """Measures one round.

    Parameters
    ----------
    number : int
        Of the round, from 1.
    nodes : Mapping
        Node of each client in the round.
    traffic : Mapping
        The round's traffic by node; it grows.
    registry : ClientRegistry
        Nodes on which clients have trained before.
    uploads : SampleUploads
        How often samples were uploaded in the run.

    Attributes
    ----------
    summary : RoundSummary
        Figures of the round as a whole.
    losses : list of StepLoss
        Of the steps that count for the round's training loss.
    """

    def __init__(
        self,
        number: int,
        nodes: Mapping[int, int],
        traffic: Mapping[int, NodeTraffic],
        registry: ClientRegistry,
        uploads: SampleUploads,
    ) -> None:
        self.summary = RoundSummary(round=number)
        self.losses: list[StepLoss] = []
        self._nodes, self._traffic = nodes, traffic
        self._registry, self._uploads = registry, uploads
        self._updates: dict[int, tuple[int, float | None]] = {}
        self._server_seconds = defaultdict[int, float](float)
        uploads.begin_round()

    def seconds_of(self, client: int) -> float:
        """Return the seconds that a client took, or its batches took the server."""
        return self._traffic[self._nodes[client]].seconds + self._server_seconds[client]

    @contextmanager
    def server_time(self, client: int | None) -> Iterator[None]:
        """Count the time of the block as training of the server half, on a client's batches.

        ``client`` is None for batches of several clients.
        """
        began = time.perf_counter()
        yield
        seconds = time.perf_counter() - began
        self.summary.server_seconds += seconds
        if client is not None:
            self._server_seconds[client] += seconds

    def record_updates(
        self,
        sent: ArrayRecord,
        counted: Mapping[int, Message],
        weights: Mapping[int, float],
        arrays_key: str | None,
        late: Mapping[int, Sent],
    ) -> None:
        """Measure the update norm of each client in the average; without a key there is none.

        ``late`` are the weights, by record, of clients that started from those of another round.
        """
        before = {name: array.numpy() for name, array in sent.items()} if arrays_key else {}
        for client, message in counted.items():
            norm = None
            if arrays_key is not None:
                start = before
                if client in late:
                    record = to_arrays(late[client]["client_half"])
                    start = {name: array.numpy() for name, array in record.items()}
                norm = update_norm(start, message.content.array_records[arrays_key])
            self._updates[client] = int(weights[client]), norm

    def record_replies(self, replies: Mapping[int, TrainReply], *, keeps_optimizers: bool) -> None:
        """Put the replies' own figures, and the mean loss, into the summary."""
        summary = self.summary
        summary.train_loss = weighted_mean([(step.loss, step.samples) for step in self.losses])
        summary.client_seconds += sum(reply.seconds for reply in replies.values())
        summary.client_step_seconds += sum(reply.step_seconds for reply in replies.values())
        lost = {client for client, reply in replies.items() if reply.optimizer_state_lost}
        before = self._registry.trained_on
        if keeps_optimizers:
            # A new node cannot know that its client has trained before on another node.
            lost |= {c for c in replies if before.get(c, self._nodes[c]) != self._nodes[c]}
        if lost:
            log.warning("clients %s had lost their optimizer state; it began afresh", sorted(lost))
        before.update({client: self._nodes[client] for client in replies})

    def has_traffic(self, client: int) -> bool:
        """Tell whether bytes to or from a client's node were counted in the round."""
        traffic = self._traffic.get(self._nodes[client], NodeTraffic())
        return client in self._updates or traffic.down_bytes + traffic.up_bytes > 0

    def client_rows(
        self, asked: list[int], staleness: Callable[[int], int] | None = None
    ) -> list[ClientRound]:
        """Return the figures of clients, excluded ones too, by partition id.

        ``staleness`` is that of a client's reply, where replies may answer an earlier round.
        """
        failures, rows = self.summary.failures, []
        for client in sorted({*asked, *failures}):
            node = self._nodes.get(client, self._registry.last_node_of(client))
            examples, norm = self._updates.get(client, (None, None))
            traffic = self._traffic.get(node, NodeTraffic())
            rows.append(
                ClientRound(
                    self.summary.round, client, node, examples, norm, round(traffic.seconds, 3),
                    traffic.down_bytes, traffic.up_bytes, self._uploads.in_round(client),
                    self._uploads.of(client), failures.get(client, ""),
                    None if staleness is None or examples is None else staleness(client),
                )
            )  # fmt: skip
        return rows

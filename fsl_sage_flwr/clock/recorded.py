"""Read the work of each round from the rows that a run records."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..byte_columns import DIRECTIONS, FULL_MODEL, OTHER, PAYLOADS
from .work import Floats, Flops, RoundWork

UPLOAD_KEY = "server-update-interval"
STALENESS = "staleness"  # column of a run whose replies may be merged in a later round


class RecordedRounds:
    """Turns the rows of a run into the work of its rounds, in their order.

    Parameters
    ----------
    config : Mapping
        Run configuration.
    flops : Flops or None
        Floating-point operations of one sample; None if the run recorded none.
    """

    def __init__(self, config: Mapping[str, Any], flops: Flops | None) -> None:
        self._config, self._flops = config, flops
        self._examples: dict[int, float] = {}
        self._held: dict[int, float] = {}
        self._sent: dict[int, float] = {}

    def round(self, row: Mapping[str, Any], clients: Sequence[Mapping[str, Any]]) -> RoundWork:
        """Return the work of the next round.

        Excluded clients, and clients without a number of examples, are left out. A reply
        that is merged in a later round counts there, with the bytes that its client was sent. A
        client's bytes are divided among the kinds of payload as those of all clients are. A client
        without a message has the examples of an earlier round.

        Parameters
        ----------
        row : Mapping
            Row of ``history.csv``.
        clients : sequence of Mapping
            The round's rows of ``clients.csv``.
        """
        present = sorted((c for c in clients if not _text(c.get("failure"))), key=_client)
        for client in present:
            examples = _number(client.get("examples"))
            if examples is not None:
                self._examples[_client(client)] = examples
        present = [self._with_bytes_sent(c) for c in present if not self._computes_on(c)]
        taken = [client for client in present if _client(client) in self._examples]
        ids = tuple(_client(client) for client in taken)
        work = RoundWork(
            number=int(row["round"]),
            clients=ids,
            examples=np.array([self._examples[client] for client in ids]),
            **{direction: _by_kind(row, taken, direction) for direction in DIRECTIONS},
            batch_size=int(self._config.get("batch-size") or 1),
            local_epochs=int(self._config.get("local-epochs") or 1),
            is_new=np.array([client not in self._held for client in ids], dtype=bool),
            held=np.array([self._held.get(client, 0.0) for client in ids]),
            config=self._config,
            flops=self._flops,
            client_seconds=_number(row.get("client_step_seconds")) or 0.0,
            server_seconds=_number(row.get("server_seconds")) or 0.0,
            alignment_seconds=_number(row.get("alignment_seconds")) or 0.0,
        )
        uploaded = work.samples * work.uploaded_batches(UPLOAD_KEY) / work.batches
        sent = uploaded if work.up.get("smashed") is not None else np.zeros(len(ids))
        for own, samples in zip(ids, sent, strict=True):
            self._held[own] = self._held.get(own, 0.0) + float(samples)
        return work

    def _computes_on(self, client: Mapping[str, Any]) -> bool:
        """Tell whether a client's reply is merged in a later round; note the bytes sent to it."""
        if _number(client.get("examples")) is not None or STALENESS not in client:
            return False
        sent = _number(client.get("down_bytes")) or 0.0
        self._sent[_client(client)] = self._sent.get(_client(client), 0.0) + sent
        return True

    def _with_bytes_sent(self, client: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a client's row with the bytes that it was sent in earlier rounds."""
        before = self._sent.pop(_client(client), 0.0)
        sent = before + (_number(client.get("down_bytes")) or 0.0)
        return {**client, "down_bytes": sent} if before else client


def _by_kind(
    row: Mapping[str, Any], clients: Sequence[Mapping[str, Any]], direction: str
) -> dict[str, Floats]:
    own = np.array([_number(client.get(f"{direction}_bytes")) or 0.0 for client in clients])
    kinds = (*PAYLOADS, FULL_MODEL, OTHER)
    sizes = {kind: _number(row.get(f"{direction}_{kind}_bytes")) or 0.0 for kind in kinds}
    total = sum(sizes.values())
    if not total:
        return {OTHER: own}
    return {kind: own * size / total for kind, size in sizes.items() if size}


def _client(row: Mapping[str, Any]) -> int:
    return int(row["client"])


def _number(value: Any) -> float | None:
    """Return a number of a table; None for an empty cell."""
    if value is None or value == "" or math.isnan(float(value)):
        return None
    return float(value)


def _text(value: Any) -> str:
    """Return a text of a table; empty for an empty cell, which pandas reads as NaN."""
    return "" if value is None or value != value else str(value)
